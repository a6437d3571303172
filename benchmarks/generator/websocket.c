/*
 * Events over WebSocket connections.
 *
 * Connections form groups. In a group some members send and some receive; a request is answered when
 * every receiver of the group has its copy. An echo is a group of one, a broadcast a group of all.
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Requests of one group that may be waiting for their replies; a power of two. */
#define RING 8192
#define HANDSHAKE_ROOM 4096

enum stage { CONNECTING, UPGRADING, OPENING, JOINING, SETTING_UP, READY };
enum frame_kind { REPLY, HEARTBEAT };

struct group;

/* What is needed only until a connection is ready. */
struct handshake {
    struct setup *next_setup;
    size_t size;
    uint8_t data[HANDSHAKE_ROOM];
};

struct connection {
    struct endpoint endpoint;
    struct group *group;
    uint32_t member;
    uint8_t stage;
    uint8_t kind;
    uint8_t reply_index;
    uint8_t header_size;
    uint8_t header[10];
    bool checked;
    bool wants_write;
    uint32_t unsent;
    uint32_t pongs_due;
    size_t offset;
    uint64_t payload_at;
    uint64_t payload_left;
    uint64_t received;
    struct handshake *handshake;
};

struct group {
    struct connection *members;
    const struct request *request;
    uint64_t sent;
    uint64_t delivered;
    uint32_t next_sender;
    uint64_t intended[RING];
};

static struct connection *connections;
static struct group *groups;
static uint32_t begun;
static uint32_t ready;
static uint32_t next_group;
static uint64_t outstanding;

/* ---- sending ---------------------------------------------------------------------------------- */

static void want_write(struct connection *connection, bool wanted)
{
    if (connection->wants_write == wanted)
        return;
    connection->wants_write = wanted;
    rewatch(&connection->endpoint, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void flush(struct connection *connection)
{
    const struct request *request = connection->group->request;
    if (connection->offset == 0) {
        for (; connection->pongs_due; connection->pongs_due--)
            send_small(connection->endpoint.fd, pong_frame, sizeof pong_frame);
    }
    while (connection->unsent) {
        size_t wanted = connection->unsent * request->size - connection->offset;
        size_t at_hand = request->train.size - connection->offset;
        size_t size = wanted < at_hand ? wanted : at_hand;
        ssize_t sent = send(connection->endpoint.fd, request->train.data + connection->offset, size,
                            MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                fail("send: %s", strerror(errno));
            want_write(connection, true);
            return;
        }
        size_t end = connection->offset + (size_t)sent;
        connection->unsent -= (uint32_t)(end / request->size);
        connection->offset = end % request->size;
    }
    want_write(connection, false);
}

/* Let the group's next sender send `count` requests that were due at `intended`. */
static void send_requests(struct group *group, uint32_t count, uint64_t intended)
{
    struct connection *sender = &group->members[plan.sender_first + group->next_sender];
    if (++group->next_sender == plan.sender_count)
        group->next_sender = 0;
    for (uint32_t index = 0; index < count; index++)
        group->intended[(group->sent + index) % RING] = intended;
    group->sent += count;
    counters.sent += count;
    outstanding += (uint64_t)count * plan.receivers;
    sender->unsent += count;
    flush(sender);
}

static void refill(struct group *group, uint64_t now)
{
    uint64_t in_flight = group->sent - group->delivered / plan.receivers;
    if (in_flight >= plan.window)
        return;
    uint32_t free_places = plan.window - (uint32_t)in_flight;
    if (plan.sender_count == 1) {
        send_requests(group, free_places, now);
        return;
    }
    while (free_places--)
        send_requests(group, 1, now);
}

/* ---- receiving -------------------------------------------------------------------------------- */

static void begin_frame(struct connection *connection, uint8_t first_byte, uint64_t length)
{
    const struct reply_frame *expected = &plan.reply[connection->reply_index];
    connection->payload_at = 0;
    connection->payload_left = length;
    if (first_byte == 0x81 && length == 1) {
        connection->kind = HEARTBEAT;
        return;
    }
    if (first_byte == 0x88)
        fail("the server closed a connection");
    if (plan.reply_frames == 0 || connection->member >= plan.receivers
        || first_byte != expected->first_byte || length < expected->minimum || length > expected->maximum)
        fail("an unexpected frame: first byte %u, length %llu", first_byte, (unsigned long long)length);
    connection->kind = REPLY;
    connection->checked = connection->received < CHECKED_FIRST || connection->received % CHECKED_EVERY == 0;
}

static void take_payload(struct connection *connection, const uint8_t *data, size_t size)
{
    if (connection->kind == HEARTBEAT) {
        if (data[0] != '2')
            fail("an unexpected packet of one character");
    } else if (connection->checked) {
        const struct bytes *prefix = &plan.reply[connection->reply_index].prefix;
        uint64_t at = connection->payload_at;
        if (at < prefix->size) {
            size_t compared = prefix->size - at < size ? prefix->size - at : size;
            if (memcmp(data, prefix->data + at, compared) != 0)
                fail("a wrong reply: %.*s", (int)(size < 80 ? size : 80), (const char *)data);
        }
    }
    connection->payload_at += size;
    connection->payload_left -= size;
}

static void end_frame(struct connection *connection, uint64_t now)
{
    struct group *group = connection->group;
    if (connection->kind == HEARTBEAT) {
        connection->pongs_due++;
        counters.heartbeats++;
        return;
    }
    if (++connection->reply_index < plan.reply_frames)
        return;
    connection->reply_index = 0;
    if (outstanding == 0 || connection->received >= group->sent)
        fail("a reply to nothing");
    if (loading == OPEN_LOOP)
        histogram_record(&latencies, now - group->intended[connection->received % RING]);
    connection->received++;
    group->delivered++;
    outstanding--;
    counters.messages++;
}

static size_t header_length(uint8_t second_byte)
{
    uint8_t length = second_byte & 0x7f;
    return length < 126 ? 2 : length == 126 ? 4 : 10;
}

static uint64_t payload_length(const uint8_t *header, size_t size)
{
    if (size == 2)
        return header[1] & 0x7f;
    uint64_t length = 0;
    for (size_t index = 2; index < size; index++)
        length = length << 8 | header[index];
    return length;
}

static void take_frames(struct connection *connection, const uint8_t *data, size_t size, uint64_t now)
{
    while (size) {
        if (connection->payload_left == 0) {
            size_t length;
            if (connection->header_size == 0 && size >= 2 && size >= (length = header_length(data[1]))) {
                begin_frame(connection, data[0], payload_length(data, length));
                data += length;
                size -= length;
            } else {
                connection->header[connection->header_size++] = *data++;
                size--;
                if (connection->header_size < 2
                    || connection->header_size < (length = header_length(connection->header[1])))
                    continue;
                connection->header_size = 0;
                begin_frame(connection, connection->header[0], payload_length(connection->header, length));
            }
        }
        size_t taken = connection->payload_left < size ? connection->payload_left : size;
        if (taken)
            take_payload(connection, data, taken);
        data += taken;
        size -= taken;
        if (connection->payload_left == 0)
            end_frame(connection, now);
    }
}

/* ---- connecting ------------------------------------------------------------------------------- */

static void on_event(struct endpoint *endpoint, uint32_t events);

static void connect_next(void)
{
    if (begun == plan.connections)
        return;
    struct connection *connection = &connections[begun];
    connection->handshake = allocate(1, sizeof *connection->handshake);
    connection->handshake->next_setup = plan.setups[begun];
    connection->endpoint = (struct endpoint){begin_connect(begun), on_event};
    begun++;
    watch(&connection->endpoint, EPOLLOUT);
}

static void become_ready(struct connection *connection)
{
    if (connection->handshake->size)
        fail("the server spoke before it was asked");
    free(connection->handshake);
    connection->handshake = NULL;
    connection->stage = READY;
    if (++ready == plan.connections)
        report_ready();
    connect_next();
}

static void next_setup(struct connection *connection)
{
    struct setup *setup = connection->handshake->next_setup;
    if (setup == NULL) {
        become_ready(connection);
        return;
    }
    connection->handshake->next_setup = setup->next;
    connection->stage = SETTING_UP;
    send_small(connection->endpoint.fd, setup->frame.data, setup->frame.size);
}

/* Take one step of the handshake from what was received; its length, or 0 when there is more to come. */
static size_t handshake_step(struct connection *connection)
{
    static const char *const expected[] = {[OPENING] = "0{", [JOINING] = "40{", [SETTING_UP] = "43"};
    struct handshake *handshake = connection->handshake;
    if (connection->stage == UPGRADING) {
        size_t head = upgraded(handshake->data, handshake->size);
        if (head)
            connection->stage = OPENING;
        return head;
    }
    const uint8_t *payload;
    size_t length;
    size_t whole = small_frame(handshake->data, handshake->size, &payload, &length);
    if (whole == 0)
        return 0;
    const char *begin = expected[connection->stage];
    if (length < strlen(begin) || memcmp(payload, begin, strlen(begin)) != 0)
        fail("expected %s, got %.*s", begin, (int)(length < 80 ? length : 80), (const char *)payload);
    return whole;
}

static void advance_handshake(struct connection *connection, const uint8_t *data, size_t size)
{
    struct handshake *handshake = connection->handshake;
    if (handshake->size + size > HANDSHAKE_ROOM)
        fail("a handshake of more than %d bytes", HANDSHAKE_ROOM);
    memcpy(handshake->data + handshake->size, data, size);
    handshake->size += size;
    while (connection->stage != READY) {
        uint8_t stage = connection->stage;
        size_t step = handshake_step(connection);
        if (step == 0)
            return;
        handshake->size -= step;
        memmove(handshake->data, handshake->data + step, handshake->size);
        if (stage == OPENING) {
            connection->stage = JOINING;
            send_small(connection->endpoint.fd, connect_frame, sizeof connect_frame);
        } else if (stage != UPGRADING) {
            next_setup(connection);
        }
    }
}

static void on_event(struct endpoint *endpoint, uint32_t events)
{
    struct connection *connection = (struct connection *)endpoint;
    if (connection->stage == CONNECTING) {
        finish_connect(endpoint->fd);
        connection->stage = UPGRADING;
        rewatch(endpoint, EPOLLIN);
        send_small(endpoint->fd, upgrade_request.data, upgrade_request.size);
        return;
    }
    if (events & EPOLLOUT)
        flush(connection);
    if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t size = receive(endpoint->fd);
    if (size < 0)
        return;
    if (size == 0)
        fail("the server closed a connection");
    if (connection->stage != READY) {
        advance_handshake(connection, receive_buffer, (size_t)size);
        return;
    }
    uint64_t now = monotonic();
    take_frames(connection, receive_buffer, (size_t)size, now);
    if (loading == CLOSED_LOOP)
        refill(connection->group, now);
    if (connection->pongs_due)
        flush(connection);
}

/* ---- the mode --------------------------------------------------------------------------------- */

static void start(void)
{
    uint32_t group_count = plan.connections / plan.group_size;
    connections = allocate(plan.connections, sizeof *connections);
    groups = allocate(group_count, sizeof *groups);
    for (uint32_t index = 0; index < plan.connections; index++) {
        connections[index].group = &groups[index / plan.group_size];
        connections[index].member = index % plan.group_size;
    }
    for (uint32_t index = 0; index < group_count; index++) {
        groups[index].members = &connections[index * plan.group_size];
        groups[index].request =
            plan.group_requests[index] ? plan.group_requests[index] : plan.common_request;
    }
    for (uint32_t index = 0; index < plan.connecting; index++)
        connect_next();
}

static void begin_closed(void)
{
    uint64_t now = monotonic();
    for (uint32_t index = 0; index < plan.active_groups && groups[index].request; index++)
        refill(&groups[index], now);
}

/* One arrival is as many requests as are kept in flight, sent at once. */
static void arrival(uint64_t intended)
{
    struct group *group = &groups[next_group];
    if (++next_group == plan.active_groups)
        next_group = 0;
    if (group->sent - group->delivered / plan.receivers + plan.window > RING) {
        counters.missed += plan.window;
        return;
    }
    send_requests(group, plan.window, intended);
}

static bool drained(void) { return outstanding == 0; }

const struct mode websocket_mode = {"websocket", start, begin_closed, arrival, drained};
