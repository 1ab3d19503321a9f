"""The strictest settings that jax and the type checker offer."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Shapes and types in annotations are checked at every call from here on.
install_import_hook("recovery", "runtime_types.check").__enter__()
