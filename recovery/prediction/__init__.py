"""What a completed matrix is used for: single entries, best columns, and rows that come later."""

from recovery.prediction.best_columns import top_columns as top_columns
from recovery.prediction.new_rows import fold_in as fold_in
from recovery.prediction.single_entries import predict as predict
