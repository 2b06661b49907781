/* Records what the processes that load it (LD_PRELOAD) do to the files below a
 * directory, and what they ask to be on the disk: see disk.py, which reads it.
 *
 * POWER_ROOT: the directory, without symbolic links. POWER_JOURNAL: a file elsewhere
 * that gets a record for each thing done, in one order for all processes.
 *
 * A record is written after what it tells of, so a sync is told of in two: what was
 * recorded before its beginning was there to be synced, and is on the disk at its end.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *root;
static int journal = -1;
static atomic_uint syncs;

__attribute__((constructor)) static void begin(void)
{
    root = getenv("POWER_ROOT");
    const char *path = getenv("POWER_JOURNAL");
    if (!root || !path)
        return;
    journal = REAL(open)(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (journal < 0)
        abort();
}

static void record(char kind, uint64_t inode, uint64_t at, const char *path,
                   const void *data, size_t length)
{
    int kept = errno;
    struct {
        uint32_t kind, path;
        uint64_t inode, at, length;
    } head = {(uint32_t)kind, (uint32_t)strlen(path), inode, at, length};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)path, head.path}, {(void *)data, length}};
    /* In one call: the kernel keeps what is appended so together. */
    if (writev(journal, parts, 3) != (ssize_t)(sizeof head + head.path + length))
        abort();
    errno = kept;
}

/* What SQLite shares in memory (-shm) is nothing that it needs after a cut. */
static int is_below(const char *path)
{
    size_t length = root ? strlen(root) : 0;
    return journal >= 0 && strncmp(path, root, length) == 0 &&
           (path[length] == '/' || path[length] == 0) && !strstr(path, "-shm");
}

/* Whether it is ours, and then its absolute path. */
static int is_watched(const char *path, char *full)
{
    int kept = errno;
    char here[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return 0;
    int length = snprintf(full, PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", path);
    errno = kept;
    return length < PATH_MAX && is_below(full);
}

/* Whether an open file or directory is ours. */
static int is_watched_file(int file, struct stat *found)
{
    int kept = errno;
    char link[64], path[PATH_MAX];
    ssize_t length = -1;
    if (journal >= 0 && fstat(file, found) == 0 &&
        (S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        length = readlink(link, path, sizeof path - 1);
    }
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int opened(int (*really)(const char *, int, ...), const char *path, int flags,
                  mode_t mode)
{
    char full[PATH_MAX];
    struct stat found;
    if (!(flags & (O_CREAT | O_TRUNC)) || !is_watched(path, full))
        return really(path, flags, mode);
    /* Only so it is certain who has created it. */
    int is_new = flags & O_CREAT;
    int file = really(path, flags | (is_new ? O_EXCL : 0), mode);
    if (file < 0 && errno == EEXIST && is_new && !(flags & O_EXCL)) {
        is_new = 0;
        file = really(path, flags, mode);
    }
    if (file >= 0 && fstat(file, &found) == 0) {
        if (is_new)
            record('C', found.st_ino, 0, full, NULL, 0);
        else if (flags & O_TRUNC)
            record('T', found.st_ino, 0, "", NULL, 0);
    }
    return file;
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;        \
        va_end(more);                                                                  \
        return opened(REAL(name), path, flags, mode);                                  \
    }

OPEN(open)
OPEN(open64)

static ssize_t written(int file, ssize_t length, const void *data, off64_t at)
{
    struct stat found;
    if (length > 0 && is_watched_file(file, &found)) {
        if (at < 0)
            at = lseek64(file, 0, SEEK_CUR) - length;
        record('W', found.st_ino, (uint64_t)at, "", data, (size_t)length);
    }
    return length;
}

ssize_t write(int file, const void *data, size_t length)
{
    return written(file, REAL(write)(file, data, length), data, -1);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t at)
{
    return written(file, REAL(pwrite)(file, data, length, at), data, at);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t at)
{
    return written(file, REAL(pwrite64)(file, data, length, at), data, at);
}

static int truncated(int file, int status, off64_t size)
{
    struct stat found;
    if (status == 0 && is_watched_file(file, &found))
        record('T', found.st_ino, (uint64_t)size, "", NULL, 0);
    return status;
}

int ftruncate(int file, off_t size)
{
    return truncated(file, REAL(ftruncate)(file, size), size);
}

int ftruncate64(int file, off64_t size)
{
    return truncated(file, REAL(ftruncate64)(file, size), size);
}

static int synced(int (*really)(int), int file)
{
    struct stat found;
    if (!is_watched_file(file, &found))
        return really(file);
    uint64_t sync = (uint64_t)getpid() << 32 | atomic_fetch_add(&syncs, 1);
    record('B', found.st_ino, sync, "", NULL, 0);
    int status = really(file);
    if (status == 0)
        record('S', found.st_ino, sync, "", NULL, 0);
    return status;
}

int fsync(int file)
{
    return synced(REAL(fsync), file);
}

int fdatasync(int file)
{
    return synced(REAL(fdatasync), file);
}

int mkdir(const char *path, mode_t mode)
{
    char full[PATH_MAX];
    struct stat found;
    int status = REAL(mkdir)(path, mode);
    if (status == 0 && is_watched(path, full) && stat(path, &found) == 0)
        record('D', found.st_ino, 0, full, NULL, 0);
    return status;
}

int unlink(const char *path)
{
    char full[PATH_MAX];
    int status = REAL(unlink)(path);
    if (status == 0 && is_watched(path, full))
        record('U', 0, 0, full, NULL, 0);
    return status;
}

int rename(const char *from, const char *to)
{
    char full[PATH_MAX], target[PATH_MAX];
    int status = REAL(rename)(from, to);
    if (status == 0 && is_watched(from, full) && is_watched(to, target))
        record('R', 0, 0, full, target, strlen(target));
    return status;
}
