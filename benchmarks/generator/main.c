/* The plan, the epoll loop, the commands, and what all three kinds of traffic share. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct plan plan = {.path = "/socket.io/", .connections = 1, .group_size = 1, .sender_count = 1,
                    .receivers = 1, .window = 1, .sources = 1, .connecting = 32};
struct counters counters;
struct histogram latencies;
enum loading loading = IDLE;
uint8_t receive_buffer[1 << 18];

struct bytes upgrade_request;
/* Both masked with the key 37 fa 21 3d: "40", and the answer to a heartbeat, "3". */
const uint8_t connect_frame[8] = {0x81, 0x82, 0x37, 0xfa, 0x21, 0x3d, 0x34 ^ 0x37, 0x30 ^ 0xfa};
const uint8_t pong_frame[7] = {0x81, 0x81, 0x37, 0xfa, 0x21, 0x3d, 0x33 ^ 0x37};

static int poller;
static const struct mode *mode;
static bool is_ready;
static bool stopping;
static uint64_t idle_ns;
static uint64_t observed_since;
static uint64_t observe_until;
static double arrivals_per_ns;
static double next_arrival;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

_Noreturn void fail(const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *at = text; *at; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < 32 || (unsigned char)*at > 126)
            *at = '.';
    printf("{\"event\":\"error\",\"message\":\"%s\"}\n", text);
    fflush(stdout);
    exit(1);
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        fail("out of memory");
    return memory;
}

uint64_t monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void report_ready(void)
{
    is_ready = true;
    printf("{\"event\":\"ready\"}\n");
    fflush(stdout);
}

/* ---- sockets ---------------------------------------------------------------------------------- */

int begin_connect(uint64_t number)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* The plainest congestion control there is: pacing would only cost the generator time. */
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (plan.sources > 1) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number % plan.sources));
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
            fail("bind: %s", strerror(errno));
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool elsewhere = plan.receivers_port && number % plan.group_size;
    address.sin_port = htons((uint16_t)(elsewhere ? plan.receivers_port : plan.port));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    return fd;
}

void finish_connect(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error)
        fail("connect: %s", strerror(error));
}

static void control(int operation, struct endpoint *endpoint, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = endpoint};
    if (epoll_ctl(poller, operation, endpoint->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

void watch(struct endpoint *endpoint, uint32_t events) { control(EPOLL_CTL_ADD, endpoint, events); }
void rewatch(struct endpoint *endpoint, uint32_t events) { control(EPOLL_CTL_MOD, endpoint, events); }

void send_small(int fd, const void *data, size_t size)
{
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent != (ssize_t)size)
        fail("send: %s", sent < 0 ? strerror(errno) : "the socket took only a part");
}

ssize_t receive(int fd)
{
    ssize_t size = recv(fd, receive_buffer, sizeof receive_buffer, 0);
    if (size > 0) {
        counters.received_bytes += (uint64_t)size;
        return size;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return -1;
    if (size < 0 && errno != ECONNRESET)
        fail("recv: %s", strerror(errno));
    return 0;
}

size_t upgraded(const uint8_t *data, size_t size)
{
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (size < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0)
        fail("the upgrade was refused: %.*s", (int)(size < 80 ? size : 80), (const char *)data);
    return (size_t)(end - data) + 4;
}

size_t small_frame(const uint8_t *data, size_t size, const uint8_t **payload, size_t *length)
{
    if (size < 2)
        return 0;
    size_t head = 2;
    *length = data[1] & 0x7f;
    if (*length == 126) {
        if (size < 4)
            return 0;
        head = 4;
        *length = (size_t)data[2] << 8 | data[3];
    } else if (*length == 127) {
        fail("a frame of more than 64 KiB before the load began");
    }
    if (size < head + *length)
        return 0;
    *payload = data + head;
    return head + *length;
}

/* ---- the plan --------------------------------------------------------------------------------- */

static struct bytes from_hex(const char *text)
{
    size_t size = strspn(text, "0123456789abcdef") / 2;
    struct bytes bytes = {allocate(size + 1, 1), size};
    for (size_t index = 0; index < size; index++) {
        unsigned value;
        sscanf(text + 2 * index, "%2x", &value);
        bytes.data[index] = (uint8_t)value;
    }
    return bytes;
}

static struct request *make_request(const char *hex)
{
    struct bytes one = from_hex(hex);
    struct request *request = allocate(1, sizeof *request);
    request->size = one.size;
    request->train.size = one.size * plan.window;
    request->train.data = allocate(request->train.size, 1);
    for (uint32_t copy = 0; copy < plan.window; copy++)
        memcpy(request->train.data + copy * one.size, one.data, one.size);
    free(one.data);
    return request;
}

static void add_setup(uint32_t connection, const char *hex)
{
    if (connection >= plan.connections)
        fail("plan: set-up of a connection that does not exist");
    struct setup **last = &plan.setups[connection];
    while (*last)
        last = &(*last)->next;
    *last = allocate(1, sizeof **last);
    (*last)->frame = from_hex(hex);
}

static void add_reply(const char *rest)
{
    unsigned first_byte;
    unsigned long long minimum, maximum;
    int at = 0;
    if (plan.reply_frames == MAX_REPLY_FRAMES
        || sscanf(rest, "%u %llu %llu %n", &first_byte, &minimum, &maximum, &at) != 3)
        fail("plan: bad reply");
    plan.reply[plan.reply_frames++] =
        (struct reply_frame){(uint8_t)first_byte, minimum, maximum, from_hex(rest + at)};
}

/* A line holds a number; true when it was one of these. */
static bool read_number(const char *key, const char *value)
{
    const struct { const char *key; uint32_t *target; } numbers[] = {
        {"connections", &plan.connections}, {"group_size", &plan.group_size},
        {"active_groups", &plan.active_groups}, {"sender_first", &plan.sender_first},
        {"sender_count", &plan.sender_count}, {"receivers", &plan.receivers},
        {"window", &plan.window}, {"sources", &plan.sources}, {"connecting", &plan.connecting},
    };
    for (size_t index = 0; index < sizeof numbers / sizeof *numbers; index++) {
        if (strcmp(key, numbers[index].key) == 0) {
            *numbers[index].target = (uint32_t)strtoul(value, NULL, 10);
            return true;
        }
    }
    return false;
}

/* Lines of "key value" up to "end". Numbers come first: the sizes of the tables depend on them. */
static void read_plan(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        fail("plan: %s", strerror(errno));
    const struct mode *const modes[] = {&websocket_mode, &polling_mode, &connects_mode};
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0) {
        char *value = strchr(line, ' ');
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "end") == 0) {
            free(line);
            fclose(file);
            return;
        }
        if (value == NULL)
            fail("plan: no value in a line");
        *value++ = 0;
        if (read_number(line, value))
            continue;
        if (strcmp(line, "mode") == 0) {
            for (size_t index = 0; index < sizeof modes / sizeof *modes; index++)
                if (strcmp(value, modes[index]->name) == 0)
                    mode = modes[index];
        } else if (strcmp(line, "port") == 0) {
            plan.port = atoi(value);
        } else if (strcmp(line, "receivers_port") == 0) {
            plan.receivers_port = atoi(value);
        } else if (strcmp(line, "path") == 0) {
            snprintf(plan.path, sizeof plan.path, "%s", value);
        } else if (strcmp(line, "tables") == 0) {
            plan.setups = allocate(plan.connections, sizeof *plan.setups);
            plan.group_requests = allocate(plan.connections / plan.group_size, sizeof *plan.group_requests);
        } else if (strcmp(line, "reply") == 0) {
            add_reply(value);
        } else if (strcmp(line, "request") == 0) {
            plan.common_request = make_request(value);
        } else if (strcmp(line, "group_request") == 0) {
            char *hex;
            unsigned long group = strtoul(value, &hex, 10);
            if (group >= plan.connections / plan.group_size)
                fail("plan: request of a group that does not exist");
            plan.group_requests[group] = make_request(hex + 1);
        } else if (strcmp(line, "setup") == 0) {
            char *hex;
            unsigned long connection = strtoul(value, &hex, 10);
            add_setup((uint32_t)connection, hex + 1);
        } else {
            fail("plan: unknown key %s", line);
        }
    }
    fail("plan: no end");
}

/* ---- commands --------------------------------------------------------------------------------- */

static void print_mark(void)
{
    uint64_t now = monotonic();
    printf("{\"event\":\"mark\",\"time\":%.9f,\"busy\":%.9f,\"messages\":%llu,\"sent\":%llu,"
           "\"heartbeats\":%llu,\"received_bytes\":%llu}\n",
           (double)now / 1e9, (double)(now - idle_ns) / 1e9, (unsigned long long)counters.messages,
           (unsigned long long)counters.sent, (unsigned long long)counters.heartbeats,
           (unsigned long long)counters.received_bytes);
    fflush(stdout);
}

static void begin_observation(double seconds)
{
    memset(&latencies, 0, sizeof latencies);
    counters.missed = 0;
    observed_since = monotonic();
    observe_until = observed_since + (uint64_t)(seconds * 1e9);
}

static void end_observation(uint64_t now)
{
    observe_until = 0;
    double count = latencies.total ? (double)latencies.total : 1;
    printf("{\"event\":\"latency\",\"rate\":%.3f,\"missed\":%llu,\"mean\":%.9f,\"p50\":%.9f,"
           "\"p99\":%.9f,\"p999\":%.9f,\"maximum\":%.9f}\n",
           (double)latencies.total * 1e9 / (double)(now - observed_since),
           (unsigned long long)counters.missed, (double)latencies.sum / count / 1e9,
           (double)histogram_percentile(&latencies, 0.5) / 1e9,
           (double)histogram_percentile(&latencies, 0.99) / 1e9,
           (double)histogram_percentile(&latencies, 0.999) / 1e9, (double)latencies.maximum / 1e9);
    fflush(stdout);
}

static void obey(const char *command)
{
    if (strcmp(command, "closed") == 0) {
        loading = CLOSED_LOOP;
        mode->begin_closed();
    } else if (strncmp(command, "open ", 5) == 0) {
        if (mode->arrival == NULL)
            fail("this mode has no open loop");
        arrivals_per_ns = strtod(command + 5, NULL) / 1e9;
        next_arrival = (double)monotonic();
        loading = OPEN_LOOP;
    } else if (strcmp(command, "mark") == 0) {
        print_mark();
    } else if (strncmp(command, "observe ", 8) == 0) {
        begin_observation(strtod(command + 8, NULL));
    } else if (strcmp(command, "stop") == 0) {
        loading = IDLE;
        stopping = true;
    } else if (strcmp(command, "quit") == 0) {
        exit(0);
    } else {
        fail("unknown command");
    }
}

static void on_command(struct endpoint *endpoint, uint32_t events)
{
    static char pending[4096];
    static size_t have;
    (void)events;
    ssize_t size = read(endpoint->fd, pending + have, sizeof pending - have - 1);
    if (size <= 0)
        exit(0); /* the harness is gone */
    have += (size_t)size;
    pending[have] = 0;
    char *line = pending;
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = 0;
        obey(line);
    }
    have -= (size_t)(line - pending);
    memmove(pending, line, have);
}

/* ---- the loop --------------------------------------------------------------------------------- */

/* Gaps between arrivals are exponential, from a fixed seed: every server meets the same schedule. */
static double next_gap(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    uint64_t bits = (random_state * 0x2545f4914f6cdd1dULL) >> 11;
    double uniform = ((double)bits + 0.5) / 9007199254740992.0;
    return -log(uniform) / arrivals_per_ns;
}

/* Send what is due: a bounded number, so that replies are not left lying. */
static void pump_arrivals(void)
{
    double now = (double)monotonic();
    for (int sent = 0; next_arrival <= now && sent < 64; sent++) {
        mode->arrival((uint64_t)next_arrival);
        next_arrival += next_gap();
    }
}

/*
 * Once the load may begin the generator never sleeps: nobody has to wake it, so neither a reply's latency
 * nor the server's time contains the cost of a wake-up, and its core does not halt. The time it found
 * nothing to do is counted, so that its load is still known.
 */
static void run(void)
{
    static struct epoll_event events[512];
    uint64_t before = monotonic();
    for (;;) {
        if (loading == OPEN_LOOP)
            pump_arrivals();
        int count = epoll_wait(poller, events, 512, is_ready ? 0 : -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        for (int index = 0; index < count; index++) {
            struct endpoint *endpoint = events[index].data.ptr;
            endpoint->on_event(endpoint, events[index].events);
        }
        uint64_t now = monotonic();
        if (count == 0)
            idle_ns += now - before;
        before = now;
        if (observe_until && now >= observe_until)
            end_observation(now);
        if (stopping && mode->drained()) {
            stopping = false;
            printf("{\"event\":\"stopped\"}\n");
            fflush(stdout);
        }
    }
}

int main(int count, char **arguments)
{
    static struct endpoint commands = {STDIN_FILENO, on_command};
    if (count != 2)
        fail("usage: loadgen PLAN");
    read_plan(arguments[1]);
    if (mode == NULL || plan.connections % plan.group_size != 0)
        fail("plan: no mode, or groups that do not divide the connections");
    if (plan.active_groups == 0)
        plan.active_groups = plan.connections / plan.group_size;
    char text[512];
    snprintf(text, sizeof text,
             "GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
             "Sec-WebSocket-Version: 13\r\n\r\n", plan.path, plan.port);
    upgrade_request = (struct bytes){(uint8_t *)strdup(text), strlen(text)};
    poller = epoll_create1(EPOLL_CLOEXEC);
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    watch(&commands, EPOLLIN);
    mode->start();
    run();
}
