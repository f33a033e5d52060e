/**
 * The system calls of the default profile, by what they are for. They act on what the caller has already, or the kernel checks the right to each use of
 * them; names that a guest's library does not know are passed over there.
 */
export const ALLOWED_SYSCALLS: readonly string[] = words(`
  ${/* files and directories */ ""}
  access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir
  fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
  futimesat getcwd getdents getdents64 ioctl lchown lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
  newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename renameat
  renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs tee truncate truncate64 umask
  unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev
  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr lsetxattr removexattr
  removexattrat setxattr setxattrat
  fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
  ${/* waiting */ ""}
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 futex futex_requeue
  futex_time64 futex_wait futex_waitv futex_wake io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit _newselect
  poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4
  ${/* memory */ ""}
  brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync
  munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
  ${/* processes and threads; clone and clone3 have rules of their own */ ""}
  capget capset execve execveat exit exit_group fork getcpu getpgid getpgrp getpid getppid getpriority getrlimit get_robust_list getrusage getsid
  get_thread_area gettid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lsm_get_self_attr pause pidfd_open
  pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev ptrace restart_syscall rseq sched_getaffinity sched_getattr sched_getparam
  sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
  sched_setparam sched_setscheduler sched_yield seccomp setpgid setpriority setrlimit set_robust_list setsid set_thread_area set_tid_address tgkill
  tkill ugetrlimit vfork wait4 waitid waitpid
  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo
  sigaltstack sigprocmask sigreturn
  ${/* users and groups */ ""}
  getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid getresuid32 getuid getuid32 setfsgid
  setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
  setreuid32 setuid setuid32
  ${/* sockets; socket has a rule of its own */ ""}
  accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto
  setsockopt shutdown socketcall socketpair
  ${/* System V and POSIX IPC, of the container's own namespace */ ""}
  ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd
  semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
  ${/* time; setting the clock is not among it */ ""}
  adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
  getitimer gettimeofday nanosleep setitimer time timer_create timer_delete timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
  timerfd_settime64 timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 times
  ${/* the rest */ ""}
  getrandom sysinfo uname
`);

/** Those of one architecture, by Node's name for it. */
export const OF_ARCHITECTURE: Readonly<
  Record<string, { readonly architectures: readonly string[]; readonly syscalls: readonly string[] }>
> = {
  // The kernel takes the calls of 32-bit programs too, and a filter kills what comes by a way that it does not know.
  x64: { architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], syscalls: ["arch_prctl", "modify_ldt"] },
  arm64: {
    architectures: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    syscalls: words("arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"),
  },
};

/** What a capability is for is allowed with it. */
export const BY_CAPABILITY: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: ["bpf"],
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
  CAP_PERFMON: ["perf_event_open"],
  CAP_SYSLOG: ["syslog"],
  CAP_SYS_ADMIN: words(`
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount open_tree perf_event_open pivot_root quotactl
    quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare
  `),
  CAP_SYS_BOOT: ["reboot"],
  CAP_SYS_CHROOT: ["chroot"],
  CAP_SYS_MODULE: ["delete_module", "finit_module", "init_module"],
  CAP_SYS_NICE: ["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
  CAP_SYS_PACCT: ["acct"],
  CAP_SYS_PTRACE: ["kcmp", "pidfd_getfd", "process_madvise"],
  CAP_SYS_RAWIO: ["ioperm", "iopl"],
  CAP_SYS_TIME: ["clock_settime", "clock_settime64", "settimeofday", "stime"],
  CAP_SYS_TTY_CONFIG: ["vhangup"],
};

function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}
