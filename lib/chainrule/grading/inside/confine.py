"""How one process gives up every power that a student's code does not need.

Namespaces, mounts, limits, capabilities, system calls.

Linux only, without any privilege of its own: it needs user namespaces for ordinary users.
"""

import ctypes
import os
import platform
import resource
import signal
import struct

__all__ = ["confine", "enter_namespaces"]

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWCGROUP, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x02000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
AF_UNIX = 1
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 24, 38, 22
RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE = 11, 12  # Python's module does not name them everywhere
libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments) -> None:
    """Call a function of the C library and raise OSError where it fails."""
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount_tmpfs(where: str, megabytes: int, flags: int = 0) -> None:
    options = f"size={megabytes}m,nr_inodes=2000,mode=0700".encode()
    _call("mount", b"tmpfs", where.encode(), b"tmpfs", ctypes.c_ulong(MS_NOSUID | MS_NODEV | flags), options)


# System calls that no solution needs, by architecture: (x86_64, aarch64). Most widen the kernel's surface; those of
# memfd_create's and shmget's kind take memory that belongs to no process, so that nobody could count it.
FORBIDDEN_CALLS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "mount_setattr": (442, 442), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "pidfd_getfd": (438, 438), "fanotify_init": (300, 262), "kexec_file_load": (320, 294),
    "settimeofday": (164, 170), "clock_adjtime": (305, 266), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "quotactl": (179, 60), "personality": (135, 92),
}  # fmt: skip


def _filter_system_calls() -> None:
    """Install a seccomp filter: the calls above fail with EPERM, as do new namespaces and all but local sockets.

    A namespace for the network does not hold every kind of socket: one to the host of a virtual machine (AF_VSOCK) gets
    past it.
    """
    machine = platform.machine()
    architecture, column, clone, clone3, socket = {
        "x86_64": (0xC000003E, 0, 56, 435, 41),
        "aarch64": (0xC00000B7, 1, 220, 435, 198),
    }[machine]
    load, jump_equal, jump_greater, jump_set, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse, unknown = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
    namespaces = (
        CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP
    )
    rules = [(load, 0, 0, 4), (jump_equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    if machine == "x86_64":  # the x32 calls are the same calls under other numbers
        rules += [(jump_greater, 0, 1, 0x40000000), (give, 0, 0, kill)]
    for numbers in FORBIDDEN_CALLS.values():
        rules += [(jump_equal, 0, 1, numbers[column]), (give, 0, 0, refuse)]
    rules += [
        (jump_equal, 0, 1, clone3),
        (give, 0, 0, unknown),
    ]  # its flags lie in memory; the C library falls back to clone
    rules += [
        (jump_equal, 0, 4, socket),
        (load, 0, 0, 16),
        (jump_equal, 0, 1, AF_UNIX),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    rules += [(jump_equal, 0, 3, clone), (load, 0, 0, 16), (jump_set, 0, 1, namespaces), (give, 0, 0, refuse)]
    rules += [(give, 0, 0, allow)]
    code = b"".join(struct.pack("HBBI", operation, yes, no, k) for operation, yes, no, k in rules)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    program = Program(len(rules), ctypes.cast(buffer, ctypes.c_void_p))
    _call("prctl", PR_SET_SECCOMP, 2, ctypes.byref(program), 0, 0)


def _drop_capabilities() -> None:
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # past the last capability this kernel knows
    header = struct.pack("Ii", 0x20080522, 0)
    _call("capset", header, b"\0" * 24)


def enter_namespaces() -> None:
    """Open a world for the next child, which is process 1 there; its mounts it takes for itself in `confine`."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def confine(limits: dict, hidden: list[str]) -> None:
    """Take every power away that the student's code does not need. Runs as process 1 of the new namespaces.

    Args:
        limits: the fields of ``chainrule.grading.sandbox.Limits``, and ``mapped_bytes``, the address space that is
            taken already
        hidden: files and folders of blocked modules, which are covered up
    """
    _call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # whatever ends the warden ends this
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where the machine itself runs out of memory, this process goes first
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    for folder in ("/tmp", "/dev/shm"):
        _mount_tmpfs(folder, limits["disk_megabytes"])
    for path in hidden:
        if os.path.isdir(path):
            _mount_tmpfs(path, 1, MS_RDONLY)
        else:
            _call("mount", b"/dev/null", path.encode(), None, ctypes.c_ulong(MS_BIND), None)
    _mount_tmpfs("/proc", 1, MS_RDONLY)  # hides the processes outside; a numerical exercise needs nothing from there
    os.chdir("/tmp")
    megabyte = 1 << 20
    # Address space counts what torch has mapped already, so the student's share comes on top of it.
    for what, bound in (
        (resource.RLIMIT_AS, limits["mapped_bytes"] + limits["memory_megabytes"] * megabyte),
        (resource.RLIMIT_CPU, limits["seconds"] + 1),
        (resource.RLIMIT_FSIZE, limits["disk_megabytes"] * megabyte),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, 128),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (RLIMIT_SIGPENDING, 1000),
        (RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (int(bound), int(bound)))
    _drop_capabilities()
    _filter_system_calls()
