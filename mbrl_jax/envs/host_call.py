"""NumPy functions that compiled programs call by name, so that such programs can be kept on disk.

A program with one of JAX's own callbacks holds a reference into the process that compiled it, and JAX leaves it out of
its persistent cache: every start of a training run on the C engine would compile anew. XLA's foreign function
interface calls what is registered under a name instead. One handler, written against its C structures, serves all
functions; a string attribute of the call says which. A program read back from the cache finds its function if this
process has published it under that name, which tracing the program does.

Only for the CPU, where a buffer's address is the host's. Source of the structures: `xla/ffi/api/c_api.h`, which jaxlib
installs; XLA promises to accept handlers of an older version for at least a year.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import traceback
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array

from mbrl_jax.types import PyTree

__all__ = ["call", "publish"]

HostFunction = Callable[..., tuple[np.ndarray, ...]]

_TARGET = "mbrl_jax_host_call"
_VERSION = (0, 1)
"""Version of the interface; all that is used here has been in it since the first."""
_METADATA, _EXECUTE, _INTERNAL = 1, 3, 13
_DTYPES = {
    1: np.dtype(np.bool_),
    2: np.dtype(np.int8),
    3: np.dtype(np.int16),
    4: np.dtype(np.int32),
    5: np.dtype(np.int64),
    6: np.dtype(np.uint8),
    7: np.dtype(np.uint16),
    8: np.dtype(np.uint32),
    9: np.dtype(np.uint64),
    11: np.dtype(np.float32),
    12: np.dtype(np.float64),
}
_NAMES = tuple(dtype.name for dtype in _DTYPES.values())
_FRAMES = 4  # of a function's traceback that its error shows
_functions: dict[str, HostFunction] = {}
_lock = threading.Lock()


class _Head(ctypes.Structure):
    """What every structure begins with, so that either side can tell how much of it the other knows."""

    _fields_ = (("struct_size", ctypes.c_size_t), ("extension", ctypes.c_void_p))


class _Version(_Head):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


class _Metadata(ctypes.Structure):
    _fields_ = (("struct_size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("metadata", ctypes.POINTER(_Metadata)),
    )


class _Buffer(_Head):
    _fields_ = (
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class _Buffers(_Head):
    _fields_ = (
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Span(ctypes.Structure):
    _fields_ = (("ptr", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Attributes(_Head):
    _fields_ = (
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Span))),
    )


class _ErrorArguments(_Head):
    _fields_ = (("message", ctypes.c_char_p), ("code", ctypes.c_int))


_CreateError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))


class _Api(_Head):
    _fields_ = (("version", _Version), ("internal", ctypes.c_void_p), ("create_error", _CreateError))


class _Frame(_Head):
    _fields_ = (
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )


def publish(function: HostFunction, name: str) -> str:
    """Make a function callable by programs; returns the name it got, which is never taken back.

    Args:
      function: takes NumPy arrays and returns a tuple of arrays. It must be pure and must not call JAX, and it may be
        called by several threads at a time.
      name: the wish; where it names another function already, a number is appended. The same name in every process
        lets all of them share compiled programs.
    """
    with _lock:
        given, number = name, 1
        while _functions.setdefault(given, function) != function:
            number += 1
            given = f"{name}#{number}"
        return given


def call(name: str, shapes: tuple[jax.ShapeDtypeStruct, ...], *args: Array) -> PyTree:
    """What the function published as `name` returns for `args`; under vmap it gets arrays with the axes in front.

    Args:
      name: from `publish`.
      shapes: tuple of `jax.ShapeDtypeStruct`, of the results. They must have these shapes and are cast to these dtypes,
        of the same kind of number or a wider one.
      args: any arrays.

    Raises:
      KeyError: if nothing has been published under that name.
      TypeError: an argument's or a result's dtype is not one that functions can be given.
      jax.errors.JaxRuntimeError: when the program runs, with message and traceback of whatever the function raised;
        also where its results are not as announced.
    """
    if name not in _functions:
        raise KeyError(f"a host function must be published before it is called, but there is none named {name!r}")
    for leaf in jax.tree.leaves((args, shapes)):
        if str(leaf.dtype) not in _NAMES:
            raise TypeError(f"a host function takes and returns arrays of {', '.join(_NAMES)}, got {leaf.dtype}")
    _register()
    return jax.ffi.ffi_call(_TARGET, shapes, vmap_method="broadcast_all")(*args, function=name)


@functools.cache
def _register() -> None:
    jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(_handle), platform="cpu")


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _handle(address: int) -> int | None:
    """The handler that XLA calls; returns the address of an error, or None."""
    frame = _Frame.from_address(address)
    try:
        if frame.extension:
            extension = _Extension.from_address(frame.extension)
            if extension.type == _METADATA:
                version = extension.metadata.contents.version
                version.major, version.minor = _VERSION
                return None
        if frame.stage == _EXECUTE:
            _execute(frame)
    except BaseException as error:  # nothing may pass through XLA's frames
        return _error(frame, error)
    return None


def _execute(frame: _Frame) -> None:
    span = frame.attributes.items[0].contents
    name = ctypes.string_at(span.ptr, span.len).decode()
    arguments, results = frame.arguments, frame.results
    given = [_view(arguments.items[i].contents) for i in range(arguments.size)]
    for array in given:
        array.flags.writeable = False  # XLA may read these again
    found = _functions[name](*given)
    if len(found) != results.size:
        raise ValueError(f"{name} must return {results.size} arrays, got {len(found)}")
    for i, value in enumerate(map(np.asarray, found)):
        view = _view(results.items[i].contents)
        if value.shape != view.shape:
            raise ValueError(f"result {i} of {name} must have shape {view.shape}, got {value.shape}")
        if value.dtype != view.dtype and not np.can_cast(value.dtype, view.dtype, "same_kind"):
            raise ValueError(f"result {i} of {name} must be of a dtype that casts to {view.dtype}, got {value.dtype}")
        view[...] = value


def _view(buffer: _Buffer) -> np.ndarray:
    """An array over the memory of a buffer."""
    shape, dtype = tuple(buffer.dims[: buffer.rank]), _DTYPES[buffer.dtype]
    if 0 in shape:
        return np.empty(shape, dtype)
    size = dtype.itemsize
    for length in shape:
        size *= length
    return np.ndarray(shape, dtype, (ctypes.c_char * size).from_address(buffer.data))


def _error(frame: _Frame, error: BaseException) -> int:
    try:
        text = "".join(traceback.format_exception(error, limit=-_FRAMES))
        message = text.encode(errors="backslashreplace").replace(b"\0", b"\\0")
    except BaseException:  # an exception may be written so that showing it fails
        message = b"a host function failed with an exception that cannot be shown"
    arguments = _ErrorArguments(message=message, code=_INTERNAL)
    arguments.struct_size = _ErrorArguments.code.offset + ctypes.sizeof(ctypes.c_int)
    return frame.api.contents.create_error(ctypes.byref(arguments))
