/* A partner that takes everything: answers each POST with 200, and counts its events.
 *
 *     partner [FILE]
 *
 * Prints its port. To `GET /` it answers "EVENTS FIRST_EVENTS FIRST LAST": how many
 * came, how many of them in the first request, and when the first and the last request
 * did, in seconds of the monotonic clock. `GET /forget` sets all to zero. Each body goes
 * into FILE, if there is one, in a line after its instant. The same for ours and for the
 * ceiling, and cheap, so that it is neither that is measured.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST (4 << 20)
#define ID "\"messageId\""

struct connection {
    int fd;
    char *data;
    size_t got;
};

static long events, first_events;
static double first, last;
static FILE *record;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void take(const char *body, size_t length) {
    long many = 0;
    double at = now();
    for (const char *from = body, *end = body + length;
         (from = memmem(from, end - from, ID, sizeof ID - 1)); from += sizeof ID - 1)
        many++;
    if (!events) {
        first = at;
        first_events = many;
    }
    events += many;
    last = at;
    if (record) {
        fprintf(record, "%.9f ", at);
        fwrite(body, 1, length, record);
        fputc('\n', record);
        fflush(record);
    }
}

/* Answers the request that is whole at the beginning of data; its length, or 0. */
static size_t answer(struct connection *c) {
    char *end = memmem(c->data, c->got, "\r\n\r\n", 4), said[256], whole[512];
    if (!end)
        return 0;
    *end = 0;
    char *length = strcasestr(c->data, "\r\ncontent-length:");
    size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
    *end = '\r';
    size_t size = end + 4 - c->data + body;
    if (c->got < size)
        return 0;
    strcpy(said, "{}");
    if (!strncmp(c->data, "POST", 4))
        take(end + 4, body);
    else if (!strncmp(c->data, "GET /forget", 11))
        events = first_events = first = last = 0;
    else
        sprintf(said, "%ld %ld %.9f %.9f", events, first_events, first, last);
    int n = sprintf(whole, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
                    strlen(said), said);
    return write(c->fd, whole, n) == n ? size : 0;
}

static int accept_one(int poll_fd, int listener) {
    int yes = 1;
    struct connection *c = calloc(1, sizeof *c);
    struct epoll_event watched = {.events = EPOLLIN, .data.ptr = c};
    c->fd = accept(listener, NULL, NULL);
    c->data = malloc(MOST);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &watched);
}

static void serve(struct connection *c) {
    ssize_t n = read(c->fd, c->data + c->got, MOST - c->got);
    if (n <= 0) {
        close(c->fd);
        free(c->data);
        free(c);
        return;
    }
    c->got += n;
    for (size_t done; (done = answer(c)); c->got -= done)
        memmove(c->data, c->data + done, c->got - done);
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll_fd = epoll_create1(0);
    struct epoll_event watched = {.events = EPOLLIN}, ready[64];
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 512) ||
        getsockname(listener, (struct sockaddr *)&at, &size) ||
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &watched) ||
        (argc > 1 && !(record = fopen(argv[1], "w")))) {
        perror("partner");
        return 1;
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(poll_fd, ready, 64, -1);
        for (int n = 0; n < found; n++)
            if (ready[n].data.ptr)
                serve(ready[n].data.ptr);
            else
                accept_one(poll_fd, listener);
    }
}
