/* Posts events over kept connections, each of them as fast as it is answered.
 *
 *     load PORT PATH EVENT BATCH CONNECTIONS SECONDS EVENTS
 *
 * EVENT is a file with one event: its run of M becomes a UUID of its own, each run of U
 * the number of one of 10,000 users. BATCH is how many go in one request; 0 means one,
 * without the envelope of a batch. Ends after SECONDS, if there was an answer by then, or
 * when so many EVENTS were answered with 200. Prints how many were, the seconds that it took,
 * and how many requests were answered otherwise. Compiled, so that what makes the load
 * costs next to nothing beside what takes it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST_ANSWER 65536
#define USERS 10000

/* "key" and no password, as SDKs send the write key. */
static const char *HEAD =
    "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic a2V5Og==\r\n"
    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n";

struct connection {
    int fd;
    char *request;
    size_t body, length, sent, got;
    char answer[MOST_ANSWER + 1];
};

static char event[65536];
static size_t event_length, many;
static uint64_t state;
static unsigned long user;
static size_t id_at, user_at[8], users; /* where in the event they are */
static int poll_fd, port;

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static uint64_t chance(void) { /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ULL;
}

static void renew(char *one) {
    char id[40], digits[24];
    uint64_t a = chance(), b = chance();
    snprintf(id, sizeof id, "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)(a >> 32),
             (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff,
             (unsigned)(b >> 48) & 0xfff, (unsigned long long)(b & 0xffffffffffffULL));
    memcpy(one + id_at, id, 36);
    snprintf(digits, sizeof digits, "%08lu", user++ % USERS);
    for (size_t n = 0; n < users; n++)
        memcpy(one + user_at[n], digits, 8);
}

static void next_request(struct connection *c) {
    char *one = c->request + c->body;
    for (size_t n = 0; n < many; n++, one += event_length + 1)
        renew(one);
    c->sent = c->got = 0;
}

static void open_connection(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event watched = {.events = EPOLLIN, .data.ptr = c};
    int yes = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &watched) < 0)
        fail("epoll_ctl");
}

/* A request is far smaller than what loopback buffers, or its reader drains it: waiting
 * here holds up the other connections only for as long as the server reads. */
static void send_request(struct connection *c) {
    while (c->sent < c->length) {
        ssize_t n = write(c->fd, c->request + c->sent, c->length - c->sent);
        if (n < 0)
            fail("write");
        c->sent += n;
    }
}

static void build(struct connection *c, const char *path, int is_batch) {
    const char *open = is_batch ? "{\"batch\":[" : "", *close = is_batch ? "]}" : "";
    size_t size = many * (event_length + 1) - 1 + strlen(open) + strlen(close);
    c->request = malloc(size + strlen(path) + 512);
    c->body = sprintf(c->request, HEAD, path, size);
    c->body += sprintf(c->request + c->body, "%s", open);
    char *at = c->request + c->body;
    for (size_t n = 0; n < many; n++) {
        if (n)
            *at++ = ',';
        memcpy(at, event, event_length);
        at += event_length;
    }
    c->length = at - c->request + sprintf(at, "%s", close);
}

/* The status of the answer, or 0 while it is not whole. */
static int read_answer(struct connection *c) {
    ssize_t n = read(c->fd, c->answer + c->got, MOST_ANSWER - c->got);
    if (n < 0)
        fail("read");
    if (n == 0) { /* the server has closed it; what was not answered is sent again */
        close(c->fd);
        open_connection(c);
        c->sent = c->got = 0;
        send_request(c);
        return 0;
    }
    c->got += n;
    c->answer[c->got] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    char *length = strcasestr(c->answer, "content-length:");
    if (!end || !length)
        return 0;
    size_t whole = end + 4 - c->answer + atol(length + 15);
    return c->got >= whole ? atoi(c->answer + 9) : 0;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "load PORT PATH EVENT BATCH CONNECTIONS SECONDS EVENTS\n");
        return 2;
    }
    port = atoi(argv[1]);
    FILE *file = fopen(argv[3], "r");
    if (!file)
        fail(argv[3]);
    event_length = fread(event, 1, sizeof event - 1, file);
    while (event_length && event[event_length - 1] == '\n')
        event[--event_length] = 0;
    int is_batch = atoi(argv[4]) > 0, connections = atoi(argv[5]);
    many = is_batch ? atoi(argv[4]) : 1;
    id_at = strstr(event, "MMMMMMMM") - event;
    for (char *at = event; users < 8 && (at = strstr(at, "UUUUUUUU")); at += 8)
        user_at[users++] = at - event;
    double seconds = atof(argv[6]);
    long wanted = atol(argv[7]), taken = 0, refused = 0, under_way = 0;
    state = (uint64_t)(now() * 1e9) * 0x9E3779B97F4A7C15ULL ^ getpid();
    poll_fd = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    double began;
    for (int n = 0; n < connections; n++) {
        build(&all[n], argv[2], is_batch);
        open_connection(&all[n]);
    }
    began = now();
    for (int n = 0; n < connections && under_way < wanted; n++) {
        next_request(&all[n]);
        send_request(&all[n]);
        under_way += many;
    }
    while ((now() < began + seconds || !taken) && taken < wanted && refused < 1000) {
        struct epoll_event ready[64];
        int found = epoll_wait(poll_fd, ready, 64, 100);
        for (int n = 0; n < found; n++) {
            struct connection *c = ready[n].data.ptr;
            int status = read_answer(c);
            if (!status)
                continue;
            if (status == 200)
                taken += many;
            else {
                refused++;
                under_way -= many;
                if (refused == 1)
                    fprintf(stderr, "%s\n", c->answer);
            }
            if (under_way < wanted) {
                next_request(c);
                send_request(c);
                under_way += many;
            }
        }
    }
    printf("%ld %.6f %ld\n", taken, now() - began, refused);
    return 0;
}
