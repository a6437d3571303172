/*
 * The load generator: one thread, one epoll loop, frames prepared by the caller.
 *
 * It reads a plan from a file (see `read_plan` in main.c), connects, prints {"event":"ready"} and then
 * obeys one command a line on standard input: `closed`, `open RATE`, `observe SECONDS`, `mark`,
 * `stop`, `quit`.
 * Whatever the server says that the plan does not expect ends the run with an error: a figure is only
 * worth something when every reply was the right one.
 */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

#define MAX_REPLY_FRAMES 4
/* Messages of a connection whose bytes are compared, and how often one is compared after that. */
#define CHECKED_FIRST 3
#define CHECKED_EVERY 1024

struct bytes {
    uint8_t *data;
    size_t size;
};

/* One prepared step of a connection's set-up, sent before the load begins and answered by an ack. */
struct setup {
    struct bytes frame;
    struct setup *next;
};

/* A frame of the reply: its first byte, the bounds of its payload length, and how the payload begins. */
struct reply_frame {
    uint8_t first_byte;
    uint64_t minimum;
    uint64_t maximum;
    struct bytes prefix;
};

/* A request and as many copies of it in a row as can leave in one write. */
struct request {
    size_t size;
    struct bytes train;
};

struct plan {
    int port;
    int receivers_port; /* of the members of a group after the first; 0: the same */
    char path[128];
    uint32_t connections;
    uint32_t group_size;
    uint32_t active_groups;
    uint32_t sender_first;
    uint32_t sender_count;
    uint32_t receivers;
    uint32_t window;
    uint32_t sources;
    uint32_t connecting;
    unsigned reply_frames;
    struct reply_frame reply[MAX_REPLY_FRAMES];
    struct request *common_request;
    struct request **group_requests;
    struct setup **setups;
};

/* What epoll hands back: the first member of everything that owns a file descriptor. */
struct endpoint {
    int fd;
    void (*on_event)(struct endpoint *endpoint, uint32_t events);
};

enum loading { IDLE, CLOSED_LOOP, OPEN_LOOP };

struct counters {
    uint64_t messages;
    uint64_t sent;
    uint64_t heartbeats;
    uint64_t received_bytes;
    uint64_t missed;
};

/* How one kind of traffic plugs into the loop. */
struct mode {
    const char *name;
    void (*start)(void);
    void (*begin_closed)(void);
    void (*arrival)(uint64_t intended);
    bool (*drained)(void);
};

extern const struct mode websocket_mode;
extern const struct mode polling_mode;
extern const struct mode connects_mode;

extern struct plan plan;
extern struct counters counters;
extern struct histogram latencies;
extern enum loading loading;
extern uint8_t receive_buffer[1 << 18];

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t count, size_t size);
uint64_t monotonic(void);
void report_ready(void);

/* Begin a connection to the server; the n-th one picks the n-th source address in turn. */
int begin_connect(uint64_t number);
/* The outcome of a non-blocking connect. */
void finish_connect(int fd);
void watch(struct endpoint *endpoint, uint32_t events);
void rewatch(struct endpoint *endpoint, uint32_t events);
/* Send all of a small message at once, or fail: used where the socket's buffer is known to be empty. */
void send_small(int fd, const void *data, size_t size);
/* Read what is there into `receive_buffer`; 0 when the server closed, -1 when nothing was there. */
ssize_t receive(int fd);

/* The opening request of a WebSocket; one fixed key serves, the server cannot know. */
extern struct bytes upgrade_request;
/* The length of a complete "101" head at the start of the data, 0 when there is more to come. */
size_t upgraded(const uint8_t *data, size_t size);
/* A complete unmasked frame of at most 64 KiB at the start of the data: its whole length, or 0. */
size_t small_frame(const uint8_t *data, size_t size, const uint8_t **payload, size_t *length);

extern const uint8_t connect_frame[8];
extern const uint8_t pong_frame[7];

#endif
