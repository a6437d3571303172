/*
 * Events over HTTP long-polling, as the official client does it: a GET waits on one connection while a
 * POST on another carries the event. A message is done when both are answered.
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Requests of one client that may wait for their turn in an open loop; a power of two. */
#define RING 1024
#define RESPONSE_ROOM 65536

enum stage { OPENING, JOINING_POST, JOINING_GET, READY };

struct client;

/* One of the two keep-alive connections of a client. */
struct channel {
    struct endpoint endpoint;
    struct client *client;
    struct bytes request;
    bool connected;
    bool waiting;
    size_t size;
    uint8_t data[RESPONSE_ROOM];
};

struct client {
    struct channel get;
    struct channel post;
    enum stage stage;
    bool busy;
    uint64_t started;
    uint64_t done;
    uint64_t queued;
    uint64_t intended[RING];
};

static struct client **clients;
static uint32_t begun;
static uint32_t ready;
static uint32_t next_client;
static uint64_t unfinished;

static void send_request(struct channel *channel)
{
    channel->waiting = true;
    if (channel->connected)
        send_small(channel->endpoint.fd, channel->request.data, channel->request.size);
}

static void set_request(struct channel *channel, const char *sid, const struct bytes *body)
{
    size_t room = 512 + (body ? body->size : 0);
    char *text = allocate(room, 1);
    int size;
    if (body == NULL)
        size = snprintf(text, room, "GET %s?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
                        plan.path, *sid ? "&sid=" : "", sid, plan.port);
    else
        size = snprintf(text, room,
                        "POST %s?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n\r\n",
                        plan.path, sid, plan.port, body->size);
    if (body) {
        memcpy(text + size, body->data, body->size);
        size += (int)body->size;
    }
    free(channel->request.data);
    channel->request = (struct bytes){(uint8_t *)text, (size_t)size};
}

/* The body of a complete response in the channel, or false. A chunked body must be one chunk. */
static bool response(struct channel *channel, const uint8_t **body, size_t *length)
{
    const uint8_t *end = memmem(channel->data, channel->size, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    if (memcmp(channel->data, "HTTP/1.1 200", 12) != 0)
        fail("an HTTP error: %.80s", (const char *)channel->data);
    *body = end + 4;
    size_t have = channel->size - (size_t)(*body - channel->data);
    channel->data[channel->size] = 0;
    const char *field = strcasestr((const char *)channel->data, "\r\ncontent-length:");
    if (field && field < (const char *)*body) {
        *length = strtoul(field + 17, NULL, 10);
        return have >= *length;
    }
    char *after;
    *length = strtoul((const char *)*body, &after, 16);
    const uint8_t *chunk = (const uint8_t *)after + 2;
    if (have < 7 || memcmp(channel->data + channel->size - 7, "\r\n0\r\n\r\n", 7) != 0)
        return false;
    if (chunk + *length + 7 != channel->data + channel->size)
        fail("a response in several chunks");
    *body = chunk;
    return true;
}

static void begin_message(struct client *client)
{
    client->busy = true;
    client->started++;
    counters.sent++;
    send_request(&client->get);
    send_request(&client->post);
}

static void queue_message(struct client *client, uint64_t intended)
{
    client->intended[(client->started + client->queued) % RING] = intended;
    client->queued++;
    unfinished++;
    if (!client->busy) {
        client->queued--;
        begin_message(client);
    }
}

static void end_message(struct client *client)
{
    uint64_t now = monotonic();
    if (loading == OPEN_LOOP)
        histogram_record(&latencies, now - client->intended[client->done % RING]);
    client->busy = false;
    client->done++;
    unfinished--;
    counters.messages++;
    if (loading == CLOSED_LOOP) {
        queue_message(client, now);
    } else if (client->queued) {
        client->queued--;
        begin_message(client);
    }
}

static void connect_next(void);

/* In this case or the other: python-socketio answers a POST with "OK". */
static void expect(const uint8_t *body, size_t length, const char *begin, size_t size)
{
    if (length < size || strncasecmp((const char *)body, begin, size) != 0)
        fail("expected %.*s, got %.*s", (int)size, begin, (int)(length < 80 ? length : 80),
             (const char *)body);
}

static void opened(struct client *client, const uint8_t *body, size_t length)
{
    static const struct bytes connect_packet = {(uint8_t *)"40", 2};
    char sid[64];
    expect(body, length, "0{", 2);
    const char *at = memmem(body, length, "\"sid\":\"", 7);
    if (at == NULL || sscanf(at + 7, "%63[^\"]", sid) != 1)
        fail("no sid in the handshake");
    set_request(&client->get, sid, NULL);
    set_request(&client->post, sid, &connect_packet);
    client->stage = JOINING_POST;
    send_request(&client->post);
}

static void joined(struct client *client)
{
    char sid[64];
    const char *at = memmem(client->get.request.data, client->get.request.size, "&sid=", 5);
    sscanf(at + 5, "%63[^ ]", sid);
    set_request(&client->post, sid, &(struct bytes){plan.common_request->train.data, plan.common_request->size});
    client->stage = READY;
    if (++ready == plan.connections)
        report_ready();
    connect_next();
}

static void answered(struct channel *channel, const uint8_t *body, size_t length)
{
    struct client *client = channel->client;
    const struct reply_frame *reply = &plan.reply[0];
    switch (client->stage) {
    case OPENING:
        opened(client, body, length);
        return;
    case JOINING_POST:
        expect(body, length, "ok", 2);
        client->stage = JOINING_GET;
        send_request(&client->get);
        return;
    case JOINING_GET:
        expect(body, length, "40{", 3);
        joined(client);
        return;
    case READY:
        if (channel == &client->post) {
            expect(body, length, "ok", 2);
        } else {
            if (length < reply->minimum || length > reply->maximum)
                fail("a reply of %zu bytes: %.*s", length, (int)(length < 80 ? length : 80), (const char *)body);
            if (client->done < CHECKED_FIRST || client->done % CHECKED_EVERY == 0)
                expect(body, length, (const char *)reply->prefix.data, reply->prefix.size);
        }
        if (!client->get.waiting && !client->post.waiting)
            end_message(client);
    }
}

static void on_event(struct endpoint *endpoint, uint32_t events)
{
    struct channel *channel = (struct channel *)endpoint;
    if (!channel->connected) {
        finish_connect(endpoint->fd);
        channel->connected = true;
        rewatch(endpoint, EPOLLIN);
        if (channel->waiting)
            send_request(channel);
        return;
    }
    (void)events;
    ssize_t size = receive(endpoint->fd);
    if (size < 0)
        return;
    if (size == 0)
        fail("the server closed a keep-alive connection");
    if (channel->size + (size_t)size >= RESPONSE_ROOM)
        fail("a response of more than %d bytes", RESPONSE_ROOM);
    memcpy(channel->data + channel->size, receive_buffer, (size_t)size);
    channel->size += (size_t)size;
    const uint8_t *body;
    size_t length;
    if (!response(channel, &body, &length))
        return;
    channel->size = 0;
    channel->waiting = false;
    answered(channel, body, length);
}

static void open_channel(struct client *client, struct channel *channel, uint64_t number)
{
    channel->client = client;
    channel->endpoint = (struct endpoint){begin_connect(number), on_event};
    watch(&channel->endpoint, EPOLLOUT);
}

static void connect_next(void)
{
    if (begun == plan.connections)
        return;
    struct client *client = allocate(1, sizeof *client);
    clients[begun] = client;
    open_channel(client, &client->get, 2ull * begun);
    open_channel(client, &client->post, 2ull * begun + 1);
    begun++;
    set_request(&client->get, "", NULL);
    send_request(&client->get);
}

static void start(void)
{
    clients = allocate(plan.connections, sizeof *clients);
    for (uint32_t index = 0; index < plan.connecting; index++)
        connect_next();
}

static void begin_closed(void)
{
    uint64_t now = monotonic();
    for (uint32_t index = 0; index < plan.connections; index++)
        queue_message(clients[index], now);
}

static void arrival(uint64_t intended)
{
    struct client *client = clients[next_client];
    if (++next_client == plan.connections)
        next_client = 0;
    if (client->queued + 2 > RING) {
        counters.missed++;
        return;
    }
    queue_message(client, intended);
}

static bool drained(void) { return unfinished == 0; }

const struct mode polling_mode = {"polling", start, begin_closed, arrival, drained};
