// What the contenders on Node share. It is laid beside each of their programs.

import cluster from "node:cluster";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import pg from "pg";

const CONNECTIONS = 16;

/** Seconds. What was seeded is good until the last request. */
export const DAY = 24 * 60 * 60;

/** Of every user. */
export const PASSWORD = "correct horse battery";

/** In the place of a slow hash, as hashing is measured apart. */
export function cheapHash(password) {
  return createHash("sha256").update(password).digest("hex");
}

/** Connections that wait for each commit to be on the disk, or, to seed, for none. */
export function pool({ durable }) {
  const options = durable ? "" : "-c synchronous_commit=off";
  return new pg.Pool({ connectionString: process.env.DATABASE_URL, max: CONNECTIONS, options });
}

/**
 * Does as the command line says: `seed COUNT FOLDER` or `serve PORT WORKERS`.
 * @param {() => Promise<void>} create  Makes the tables.
 * @param {(email: string) => Promise<object>} signUp  Makes a user with a session, and returns what
 *   that holds: a line for each of the files `refresh`, `access` and `name`.
 * @param {(port: number) => void} listen
 */
export async function run({ create, signUp, listen }) {
  const [action, first, second] = process.argv.slice(2);
  if (action === "seed") {
    await create();
    write(second, await signUpAll(Number(first), signUp));
    process.exit();
  } else if (cluster.isPrimary && Number(second) > 1) {
    for (let worker = 0; worker < Number(second); worker++) cluster.fork();
  } else {
    listen(Number(first));
  }
}

/** As many at once as there are connections. */
async function signUpAll(count, signUp) {
  const seeded = new Array(count);
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const number = next++;
      seeded[number] = await signUp(`user${number}@example.com`);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return seeded;
}

function write(folder, seeded) {
  for (const file of ["refresh", "access", "name"]) {
    writeFileSync(join(folder, file), seeded.map((each) => `${each[file]}\n`).join(""));
  }
}
