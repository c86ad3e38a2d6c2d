/* Calls of the system that fail when told to: preloaded by benchmarks/faults.py (LD_PRELOAD), quiet until armed.

   FAULT_KIND   write, read, create, open, rename, fsync: the call fails; short_read, short_write: half is done, as is allowed;
                clock: the time of day goes back by an hour
   FAULT_NTH    from which call of this kind (1: the first)
   FAULT_STICKY 1: every later one fails too, as on a full disk
   FAULT_ERRNO  number of the error
   FAULT_PATH   only files whose path has this in it                                                                            */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FILES = 65536, BACK_S = 3600 };
static char kind[32], part[512], tagged[MOST_FILES];
static long nth, count, hits;
static int sticky, number;

void fault_arm(const char *new_kind, long new_nth, int new_sticky, int new_number, const char *new_part) {
    snprintf(kind, sizeof kind, "%s", new_kind);
    snprintf(part, sizeof part, "%s", new_part);
    nth = new_nth; sticky = new_sticky; number = new_number; count = 0; hits = 0;
}
long fault_hits(void) { return hits; }

__attribute__((constructor)) static void from_environment(void) {
    const char *own = getenv("FAULT_KIND");
    if (own == NULL) return;
    const char *n = getenv("FAULT_NTH"), *s = getenv("FAULT_STICKY"), *e = getenv("FAULT_ERRNO"), *p = getenv("FAULT_PATH");
    fault_arm(own, n ? atol(n) : 1, s ? atoi(s) : 0, e ? atoi(e) : 5, p ? p : "");
}

static int is(const char *wanted) { return kind[0] && strcmp(kind, wanted) == 0; }
static int due(void) {
    long now = __sync_add_and_fetch(&count, 1);
    int yes = sticky ? now >= nth : now == nth;
    if (yes) __sync_add_and_fetch(&hits, 1);
    return yes;
}
static int meant(const char *path) { return path != NULL && part[0] && strstr(path, part) != NULL; }
static int is_tagged(int fd) { return fd >= 0 && fd < MOST_FILES && tagged[fd]; }
static int failed(void) { errno = number; return -1; }
static void tag(int fd, const char *path) { if (fd >= 0 && fd < MOST_FILES) tagged[fd] = (char)meant(path); }
static int refuses(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    return meant(path) && ((is("create") && writes) || (is("open") && !writes)) && due();
}

#define REAL(name) static __typeof__(&name) real; if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define OPENS(name)                                                                    \
    int name(const char *path, int flags, ...) {                                       \
        REAL(name); va_list rest; va_start(rest, flags);                               \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        if (refuses(path, flags)) return failed();                                     \
        int fd = real(path, flags, mode); tag(fd, path); return fd;                    \
    }
OPENS(open)
OPENS(open64)
#define OPENS_AT(name)                                                                 \
    int name(int folder, const char *path, int flags, ...) {                           \
        REAL(name); va_list rest; va_start(rest, flags);                               \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        if (refuses(path, flags)) return failed();                                     \
        int fd = real(folder, path, flags, mode); tag(fd, path); return fd;            \
    }
OPENS_AT(openat)
OPENS_AT(openat64)
#define OPENS_FILE(name)                                                               \
    FILE *name(const char *path, const char *mode) {                                   \
        REAL(name);                                                                    \
        if (refuses(path, strchr(mode, 'w') || strchr(mode, 'a') ? O_WRONLY | O_CREAT : O_RDONLY)) { failed(); return NULL; } \
        FILE *file = real(path, mode); if (file != NULL) tag(fileno(file), path); return file; \
    }
OPENS_FILE(fopen)
OPENS_FILE(fopen64)

int close(int fd) { REAL(close); if (fd >= 0 && fd < MOST_FILES) tagged[fd] = 0; return real(fd); }

#define CALLS(name, what, half, arguments, given, halved)                              \
    ssize_t name arguments {                                                           \
        REAL(name);                                                                    \
        if (is_tagged(fd)) {                                                           \
            if (is(what) && due()) return failed();                                    \
            if (is(half) && size > 1 && due()) return real halved;                     \
        }                                                                              \
        return real given;                                                             \
    }
CALLS(read, "read", "short_read", (int fd, void *to, size_t size), (fd, to, size), (fd, to, size / 2))
CALLS(pread, "read", "short_read", (int fd, void *to, size_t size, off_t at), (fd, to, size, at), (fd, to, size / 2, at))
CALLS(pread64, "read", "short_read", (int fd, void *to, size_t size, off64_t at), (fd, to, size, at), (fd, to, size / 2, at))
CALLS(write, "write", "short_write", (int fd, const void *from, size_t size), (fd, from, size), (fd, from, size / 2))
CALLS(pwrite, "write", "short_write", (int fd, const void *from, size_t size, off_t at), (fd, from, size, at), (fd, from, size / 2, at))
CALLS(pwrite64, "write", "short_write", (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at),
      (fd, from, size / 2, at))

size_t fread(void *to, size_t size, size_t n, FILE *file) {
    REAL(fread);
    if (is("read") && is_tagged(fileno(file)) && due()) { errno = number; return 0; }
    return real(to, size, n, file);
}
int fsync(int fd) { REAL(fsync); return is("fsync") && is_tagged(fd) && due() ? failed() : real(fd); }
int rename(const char *from, const char *to) {
    REAL(rename);
    return is("rename") && meant(to) && due() ? failed() : real(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    REAL(renameat);
    return is("rename") && meant(to) && due() ? failed() : real(a, from, b, to);
}

int clock_gettime(clockid_t clock, struct timespec *time_of) {
    REAL(clock_gettime);
    int told = real(clock, time_of);
    if (told == 0 && clock == CLOCK_REALTIME && is("clock") && due()) time_of->tv_sec -= BACK_S;
    return told;
}
