// The official adapters and emitters, by the names of drivers.py.
"use strict";

const ignoreErrors = (client) => client.on("error", () => {});

async function redisClient(url) {
  const client = require("redis").createClient({ url });
  ignoreErrors(client);
  await client.connect();
  return client;
}

const MADE_AT_THE_SAME_TIME = "23505";

async function postgresPool(url, max = 2) {
  const { Pool } = require("pg");
  // One connection listens, the other publishes: with more, the official adapter publishes in any order.
  const pool = new Pool({ connectionString: url, max });
  ignoreErrors(pool);
  pool.on("connect", ignoreErrors);
  try {
    await pool.query(
      "CREATE TABLE IF NOT EXISTS socket_io_attachments" +
        " (id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea)",
    );
  } catch (error) {
    if (error.code !== MADE_AT_THE_SAME_TIME) {
      throw error;
    }
  }
  return pool;
}

const DATABASE = "cluster";
const COLLECTION = "socket.io-adapter-events";

async function mongoCollection(url, ttl) {
  const { MongoClient } = require("mongodb");
  // Otherwise the events of servers hold objects of the driver where there were bytes.
  const client = new MongoClient(url, { promoteBuffers: true });
  await client.connect();
  const database = client.db(DATABASE);
  try {
    await database.createCollection(COLLECTION, ttl ? {} : { capped: true, size: 1e6 });
    if (ttl) {
      await database.collection(COLLECTION).createIndex({ createdAt: 1 }, { expireAfterSeconds: 3600 });
    }
  } catch (error) {
    if (error.codeName !== "NamespaceExists") {
      throw error;
    }
  }
  return database.collection(COLLECTION);
}

const adapters = {
  async redis(url, options) {
    const client = await redisClient(url);
    const subscriber = await redisClient(url);
    return require("@socket.io/redis-adapter").createAdapter(client, subscriber, options);
  },
  async "redis-sharded"(url, options) {
    const client = await redisClient(url);
    const subscriber = await redisClient(url);
    return require("@socket.io/redis-adapter").createShardedAdapter(client, subscriber, options);
  },
  async "redis-streams"(url, options) {
    const client = await redisClient(url);
    return require("@socket.io/redis-streams-adapter").createAdapter(client, options);
  },
  async postgres(url, { connections, ...options }) {
    return require("@socket.io/postgres-adapter").createAdapter(await postgresPool(url, connections), options);
  },
  async mongo(url, options) {
    const collection = await mongoCollection(url, options.addCreatedAtField);
    return require("@socket.io/mongo-adapter").createAdapter(collection, options);
  },
};

const emitters = {
  async redis(url, options) {
    const { Emitter } = require("@socket.io/redis-emitter");
    return new Emitter(await redisClient(url), options);
  },
  async postgres(url, options) {
    const { Emitter } = require("@socket.io/postgres-emitter");
    return new Emitter(await postgresPool(url), "/", options);
  },
  async mongo(url, options) {
    const { Emitter } = require("@socket.io/mongo-emitter");
    return new Emitter(await mongoCollection(url, options.addCreatedAtField), "/", options);
  },
};

module.exports = { adapters, emitters };
