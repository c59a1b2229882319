"""Processes that handle clips cannot reach the network; the one that decodes them cannot open files either.

    deny_network()        no sockets for this process (or one thread); called before native libraries are loaded
    offline()             calls functions without network, in a process that otherwise keeps it
    deny_files()          this process cannot open files any more; it works on descriptors that it was passed

The kernel enforces this, because native libraries with telemetry (onnxruntime) bypass Python. seccomp
refuses ``socket`` for every family but netlink, which is local; unix sockets are refused too, because name services and
proxies listen on them, and io_uring, which would bypass the filter. Existing descriptors, pipes and socket pairs still
work. Landlock restricts the file system.
The trade-off: neither can be undone, so in a process of the user's a thread is sacrificed.

On an unsupported system (not Linux, another architecture) nothing fails: ``network_guard``, ``file_guard`` and
``mien doctor`` report it. ``MIEN_SANDBOX=off`` turns both off, for debugging or for a driver that needs a socket.

Source: seccomp(2), landlock(7), linux/audit.h, linux/landlock.h.
"""

import ctypes
import errno
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from queue import SimpleQueue
from struct import pack
from typing import Any, NoReturn

SWITCH = "MIEN_SANDBOX"

NO_REPORTS = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Turns off telemetry of libraries that offer it; the kernel blocks the rest."""

NO_LOOKUPS = {"HF_HUB_OFFLINE": "1"}
"""Set where the whole process loses the network, so that nothing waits for a timeout."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""By machine: its seccomp architecture, and the number of the system call ``socket``."""

PARTING_SECONDS = 5.0

_IO_URING_SETUP = 425
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}

_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER, _ALL_THREADS = 1, 1
_REFUSE, _ALLOW = 0x00050000 | errno.EPERM, 0x7FFF0000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_NETLINK = 16
_FOREIGN_NUMBERS = 0x40000000
"""First number of the x32 system calls of x86-64."""

_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""By Landlock version: the number of file access rights (bits from 0)."""

_denied = threading.local()
_process_denied = False


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def network_guard() -> str:
    """Why the network cannot be denied on this machine; empty if it can."""
    return _why_not() or ("" if platform.machine() in _ARCHITECTURES else f"no seccomp on {platform.machine()}")


def file_guard() -> str:
    """Why files cannot be denied to the decoder on this machine; empty if they can."""
    return _why_not() or ("" if _landlock_version() else "the kernel has no Landlock")


def deny_network(*, whole_process: bool = True) -> bool:
    """Deny the network to this process and its children, or only to this thread and what it starts.

    Returns:
        Whether it is denied; ``network_guard()`` gives the reason if not.

    Raises:
        OSError: the kernel supports it, but refused.
    """
    global _process_denied
    os.environ.update(NO_REPORTS | (NO_LOOKUPS if whole_process else {}))
    if network_guard():
        return False
    if not (_process_denied or (is_denied() and not whole_process)):
        _no_new_privileges()
        _install(_program(*_ARCHITECTURES[platform.machine()]), _ALL_THREADS if whole_process else 0)
        _denied.here = True
        _process_denied = _process_denied or whole_process
    return True


def is_denied() -> bool:
    """Whether the network is denied to this thread."""
    return _process_denied or getattr(_denied, "here", False)


def deny_files() -> bool:
    """From now on this process cannot open, create, remove, rename or execute files; open descriptors stay usable.

    TCP bind and connect, and signals and abstract sockets to other processes are denied too where Landlock can.

    Returns:
        Whether it is denied; ``file_guard()`` gives the reason if not.
    """
    if file_guard():
        return False
    version = _landlock_version()
    rights = (1 << _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]) - 1
    network = 0b11 if version >= 4 else 0
    scopes = 0b11 if version >= 6 else 0
    _no_new_privileges()
    rules = pack("=QQQ", rights, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    handle = _checked(_libc().syscall(_LANDLOCK_CREATE, rules, ctypes.c_size_t(len(rules)), 0), "landlock")
    try:
        _checked(_libc().syscall(_LANDLOCK_RESTRICT, handle, 0), "landlock")
    finally:
        os.close(handle)
    return True


@contextmanager
def offline() -> Iterator[Callable[..., Any]]:
    """Call functions without network: in this thread if it has none, else in a separate thread.

    with offline() as call:
        model = call(load, path)    # threads started by ``load`` have no network either

    Calls may come from several threads, but not at once. At the end the thread is joined, so that what it loaded is
    released; if it is still busy, because its caller was interrupted, only for ``PARTING_SECONDS``.
    """
    calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
    threads: list[threading.Thread] = []

    def call(function: Callable[..., Any], *args: Any) -> Any:
        if is_denied() or network_guard():
            deny_network(whole_process=False)
            return function(*args)
        if not threads:
            threads.append(threading.Thread(target=_serve, args=(calls,), name="mien-offline", daemon=True))
            threads[0].start()
        return _call(calls, function, *args)

    try:
        yield call
    finally:
        calls.put(None)
        for thread in threads:
            if thread is not threading.current_thread():  # garbage collected in it
                thread.join(PARTING_SECONDS)


def _call(calls: "SimpleQueue[Callable[[], None] | None]", function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the thread and wait for it."""
    answers: SimpleQueue[Callable[[], Any]] = SimpleQueue()
    calls.put(lambda: answers.put(_outcome(function, args)))
    return answers.get()()


def _outcome(function: Callable[..., Any], args: tuple[Any, ...]) -> Callable[[], Any]:
    """The result of a call: a function that returns it, or raises, in another thread."""
    try:
        value = function(*args)
    except BaseException as error:  # noqa: BLE001 - raised in the calling thread
        return partial(_raise, error)
    return lambda: value


def _raise(error: BaseException) -> NoReturn:
    raise error


def _serve(calls: "SimpleQueue[Callable[[], None] | None]") -> None:
    deny_network(whole_process=False)
    while (call := calls.get()) is not None:
        call()


def _why_not() -> str:
    if os.environ.get(SWITCH, "").lower() == "off":
        return f"{SWITCH}=off"
    return "" if sys.platform == "linux" else f"not on {sys.platform}"


def _program(architecture: int, socket_call: int) -> bytes:
    """The BPF filter: refuses foreign system calls, ``io_uring_setup``, and ``socket`` of any family but netlink."""
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, 7, architecture),  # else refuse
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 5, 0, _FOREIGN_NUMBERS),
        (_EQUAL, 4, 0, _IO_URING_SETUP),
        (_EQUAL, 0, 2, socket_call),  # else allow
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_EQUAL, 0, 1, _NETLINK),  # else refuse
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )
    return b"".join(pack("=HBBI", *step) for step in steps)


def _install(program: bytes, flags: int) -> None:
    """By the system call and not by ``prctl``, because only that applies to running threads."""
    rules = _Filter(len(program) // 8, program)
    call = ctypes.c_long(_SECCOMP_CALL[platform.machine()])
    _checked(_libc().syscall(call, _SET_FILTER, flags, ctypes.byref(rules)), "seccomp")


def _no_new_privileges() -> None:
    _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def _checked(result: int, what: str) -> int:
    if result == 0 or (result > 0 and what == "landlock"):
        return result
    code = ctypes.get_errno()
    why = f"thread {result} has its own filter" if result > 0 else os.strerror(code)
    raise OSError(code, f"the kernel refused {what} ({why}); to run without it: {SWITCH}=off")


@cache
def _landlock_version() -> int:
    return max(0, _libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
