/* The life of a connection over and over: upgrade, OPEN, CONNECT, DISCONNECT, the closing handshake. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 4096

enum stage { UNUSED, CONNECTING, UPGRADING, OPENING, JOINING, CLOSING };

struct slot {
    struct endpoint endpoint;
    enum stage stage;
    size_t size;
    uint8_t data[ROOM];
};

/* "41" and a close frame with code 1000, masked with the key 37 fa 21 3d. */
static const uint8_t farewell[16] = {0x81, 0x82, 0x37, 0xfa, 0x21, 0x3d, 0x34 ^ 0x37, 0x31 ^ 0xfa,
                                     0x88, 0x82, 0x37, 0xfa, 0x21, 0x3d, 0x03 ^ 0x37, 0xe8 ^ 0xfa};
static struct slot *slots;
static uint64_t begun;
static uint32_t open_slots;

static void on_event(struct endpoint *endpoint, uint32_t events);

static void begin(struct slot *slot)
{
    slot->endpoint = (struct endpoint){begin_connect(begun++), on_event};
    slot->stage = CONNECTING;
    slot->size = 0;
    open_slots++;
    counters.sent++;
    watch(&slot->endpoint, EPOLLOUT);
}

static void finish(struct slot *slot)
{
    close(slot->endpoint.fd);
    slot->stage = UNUSED;
    open_slots--;
    counters.messages++;
    if (loading == CLOSED_LOOP)
        begin(slot);
}

/* Take one step from what was received; false when there is more to come. */
static bool step(struct slot *slot)
{
    const uint8_t *payload;
    size_t length;
    size_t whole;
    if (slot->stage == UPGRADING) {
        whole = upgraded(slot->data, slot->size);
        if (whole == 0)
            return false;
        slot->stage = OPENING;
    } else {
        whole = small_frame(slot->data, slot->size, &payload, &length);
        if (whole == 0)
            return false;
        if (slot->stage == OPENING) {
            if (length < 2 || memcmp(payload, "0{", 2) != 0)
                fail("expected an OPEN packet");
            slot->stage = JOINING;
            send_small(slot->endpoint.fd, connect_frame, sizeof connect_frame);
        } else if (slot->stage == JOINING) {
            if (length < 3 || memcmp(payload, "40{", 3) != 0)
                fail("expected a CONNECT packet");
            slot->stage = CLOSING;
            send_small(slot->endpoint.fd, farewell, sizeof farewell);
        }
    }
    slot->size -= whole;
    memmove(slot->data, slot->data + whole, slot->size);
    return slot->size > 0;
}

static void on_event(struct endpoint *endpoint, uint32_t events)
{
    struct slot *slot = (struct slot *)endpoint;
    (void)events;
    if (slot->stage == CONNECTING) {
        finish_connect(endpoint->fd);
        slot->stage = UPGRADING;
        rewatch(endpoint, EPOLLIN);
        send_small(endpoint->fd, upgrade_request.data, upgrade_request.size);
        return;
    }
    ssize_t size = receive(endpoint->fd);
    if (size < 0)
        return;
    if (size == 0) {
        if (slot->stage != CLOSING)
            fail("the server closed a connection too early");
        finish(slot);
        return;
    }
    if (slot->size + (size_t)size > ROOM)
        fail("a handshake of more than %d bytes", ROOM);
    memcpy(slot->data + slot->size, receive_buffer, (size_t)size);
    slot->size += (size_t)size;
    while (step(slot)) {
    }
}

static void start(void)
{
    slots = allocate(plan.connections, sizeof *slots);
    report_ready();
}

static void begin_closed(void)
{
    for (uint32_t index = 0; index < plan.connections; index++)
        begin(&slots[index]);
}

static bool drained(void) { return open_slots == 0; }

const struct mode connects_mode = {"connects", start, begin_closed, NULL, drained};
