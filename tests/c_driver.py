"""The C driver through ctypes: its structures, and what they are made of."""

import ctypes

from bnforge_model import Layout

_u32, _u64 = ctypes.c_uint32, ctypes.c_uint64
READ = ctypes.CFUNCTYPE(_u32, ctypes.c_void_p, _u32)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _u32, _u32)
WAIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
FLUSH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
BUSY, DRAINING, DONE, ERROR = 1 << 0, 1 << 1, 1 << 4, 1 << 5


def _structure(name, *parts):
    """A ctypes structure; each part is a type and the names of its fields."""
    return type(name, (ctypes.Structure,), {"_fields_": [(field, kind) for kind, fields in parts
                                                         for field in fields.split()]})


Handle = _structure(
    "Handle", (ctypes.c_void_p, "context"), (READ, "read32"), (WRITE, "write32"), (WAIT, "wait"), (FLUSH, "flush"),
    (_u32, "version lanes sample_depth chunk_len has_forward has_backward is_signed x_width element_width "
           "exponent_width group record_words address_width"))
Scale = _structure("Scale", (ctypes.c_float, "c eps"))
CShape = _structure("CShape", (_u32, "images height width channels layout"))
Work = _structure("Work", (CShape, "shape"), (_u32, "activation frozen"), (ctypes.POINTER(Scale), "scale"),
                  (_u64, "x gamma beta y records dy dx gradients"))
Memory = _structure("Memory", (ctypes.c_void_p, "memory"), (_u64, "address bytes"))
Result = _structure(
    "Result", (_u32, "status cause channel"), (_u64, "error_address cycles bytes_read bytes_written"),
    (_u32, "read_wait write_wait input_beats input_stalls output_beats output_stalls jobs result_tiles record_tiles"))


def load(path):
    """The driver compiled to a shared library."""
    library = ctypes.CDLL(str(path))
    for tensor in ("operand", "stored", "record", "gradient", "workspace"):
        getattr(library, f"bnforge_{tensor}_bytes").restype = _u64
    return library


def place(base, size):
    """A buffer for a workspace, and the structure that says where it lies."""
    buffer = (ctypes.c_uint8 * size)()
    return buffer, Memory(ctypes.addressof(buffer), base, size)


def c_shape(shape, layout=Layout.BLOCKED):
    return CShape(*shape.dims, layout is Layout.NHWC)


def c_work(job):
    """The structure of a :class:`Pass`."""
    given = job.c is not None
    names = (dict(dy="operand", dx="result", y="stored", records="records", gradients="gradients") if job.backward else
             dict(x="operand", y="result", gamma="gamma", beta="beta", records="records"))
    return Work(c_shape(job.shape, job.layout), job.activation, 2 * job.frozen,  # any number but 0 means frozen
                ctypes.pointer(Scale(job.c, job.eps)) if given else None,
                **{name: getattr(job, field) for name, field in names.items()})
