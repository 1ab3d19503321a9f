from recovery._lazy import from_stub as _from_stub

__getattr__, __dir__, __all__ = _from_stub(__name__)
