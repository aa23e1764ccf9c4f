/* Preloaded into a tool, makes the disk slow: each fsync and fdatasync takes 10 ms, whatever the disk below can do. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int slowly(long call, int fd)
{
    struct timespec delay = {0, 10000000};
    nanosleep(&delay, NULL);
    return (int)syscall(call, fd);
}

int fsync(int fd)
{
    return slowly(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return slowly(SYS_fdatasync, fd);
}
