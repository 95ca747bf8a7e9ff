/* Counts what a process does to files below some folders, and kills it at a given event.
 *
 * Loaded by LD_PRELOAD; silent until kill_at() is called. An event is a file opened for writing, a
 * write, a truncation, a rename, a removal, or a folder made. The process dies instead of the event;
 * of a write half has happened. Each event is a line in a log.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long number, seen;
static int log_file = -1;
static char roots[4][4096];
static int root_count;

void kill_at(long n, const char *log, int count, const char **folders) {
    number = n;
    for (root_count = 0; root_count < count && root_count < 4; root_count++)
        snprintf(roots[root_count], sizeof roots[0], "%s", folders[root_count]);
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static int below(const char *path) {
    for (int i = 0; i < root_count; i++)
        if (!strncmp(path, roots[i], strlen(roots[i]))) return 1;
    return 0;
}

/* Whether this is the event to die at. */
static int event(const char *what, const char *path) {
    char line[4200], whole[4200];
    if (log_file < 0) return 0;
    if (path[0] != '/') {
        char here[2048];
        if (syscall(SYS_getcwd, here, sizeof here) < 0) return 0;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        path = whole;
    }
    if (!below(path)) return 0;
    int length = snprintf(line, sizeof line, "%ld %s %s\n", ++seen, what, path);
    syscall(SYS_write, log_file, line, length);
    return seen == number;
}

static int event_of(const char *what, int handle) {
    char link[64], path[4096];
    if (log_file < 0 || handle == log_file) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return event(what, path);
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define NEXT(name) static __typeof__(&name) next; if (!next) next = dlsym(RTLD_NEXT, #name)
#define OPENING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)

static int mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
}
#define OPEN(name) int name(const char *path, int flags, ...) { NEXT(name); \
    va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); \
    if ((flags & OPENING) && event("open", path)) die(); return next(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { NEXT(name); \
    va_list rest; va_start(rest, flags); int mode = mode_of(flags, rest); va_end(rest); \
    if ((flags & OPENING) && event("open", path)) die(); return next(folder, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

FILE *fopen(const char *path, const char *mode) {
    NEXT(fopen);
    if (!strchr(mode, 'r') && event("open", path)) die();
    return next(path, mode);
}
FILE *fopen64(const char *path, const char *mode) {
    NEXT(fopen64);
    if (!strchr(mode, 'r') && event("open", path)) die();
    return next(path, mode);
}
ssize_t write(int handle, const void *data, size_t size) {
    NEXT(write);
    if (event_of("write", handle)) { next(handle, data, size / 2); die(); }
    return next(handle, data, size);
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t place) {
    NEXT(pwrite);
    if (event_of("write", handle)) { next(handle, data, size / 2, place); die(); }
    return next(handle, data, size, place);
}
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t place) {
    NEXT(pwrite64);
    if (event_of("write", handle)) { next(handle, data, size / 2, place); die(); }
    return next(handle, data, size, place);
}
ssize_t writev(int handle, const struct iovec *parts, int count) {
    NEXT(writev);
    if (event_of("write", handle)) { next(handle, parts, count / 2); die(); }
    return next(handle, parts, count);
}
int ftruncate(int handle, off_t size) {
    NEXT(ftruncate);
    if (event_of("truncate", handle)) die();
    return next(handle, size);
}
int ftruncate64(int handle, off64_t size) {
    NEXT(ftruncate64);
    if (event_of("truncate", handle)) die();
    return next(handle, size);
}
int rename(const char *from, const char *to) {
    NEXT(rename);
    if (event("rename", to)) die();
    return next(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    NEXT(renameat);
    if (event("rename", to)) die();
    return next(a, from, b, to);
}
int unlink(const char *path) { NEXT(unlink); if (event("unlink", path)) die(); return next(path); }
int unlinkat(int folder, const char *path, int flags) {
    NEXT(unlinkat);
    if ((path[0] == '/' || folder == AT_FDCWD ? event("unlink", path) : event_of("unlink", folder)))
        die();
    return next(folder, path, flags);
}
int rmdir(const char *path) { NEXT(rmdir); if (event("rmdir", path)) die(); return next(path); }
int mkdir(const char *path, mode_t mode) {
    NEXT(mkdir);
    if (event("mkdir", path)) die();
    return next(path, mode);
}
