/** The database of stored responses: creates, opens and recognises it. */

import { Database } from "bun:sqlite"
import { closeSync, mkdirSync, openSync } from "node:fs"
import { dirname } from "node:path"
import { z } from "zod"

export const IN_MEMORY = ":memory:"
/** `application_id` of the file ("RFrs"). A change of the tables is a new version. */
const APPLICATION_ID = 0x52467273
const VERSION = 1

const TABLES = `
  CREATE TABLE responses (id TEXT PRIMARY KEY, owner TEXT NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL,
    response TEXT NOT NULL, input TEXT NOT NULL) STRICT;
  CREATE INDEX responses_by_use ON responses (used);
  CREATE TABLE totals (n INTEGER NOT NULL, size INTEGER NOT NULL) STRICT;
  INSERT INTO totals VALUES (0, 0);
  CREATE TRIGGER response_in AFTER INSERT ON responses BEGIN UPDATE totals SET n = n + 1, size = size + new.size; END;
  CREATE TRIGGER response_out AFTER DELETE ON responses BEGIN UPDATE totals SET n = n - 1, size = size - old.size; END;
  CREATE TABLE items (item TEXT, response TEXT REFERENCES responses (id) ON DELETE CASCADE,
    PRIMARY KEY (item, response)) STRICT, WITHOUT ROWID;
  CREATE INDEX items_by_response ON items (response);
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${VERSION};
`

/** The file for responses cannot be used. */
export class ResponseStoreError extends Error {
  override readonly name = "ResponseStoreError"
}

/**
 * Opens a database file, or creates one that only this user can read. Several processes may have it open.
 * @throws ResponseStoreError when the file cannot be written, or is not a database of responses.
 */
export function openDatabase(path: string): Database {
  let db: Database | undefined
  try {
    if (path !== IN_MEMORY) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      // Created here, with a mode that lets only this user read the prompts.
      closeSync(openSync(path, "a", 0o600))
    }
    db = new Database(path, { strict: true })
    db.run("PRAGMA busy_timeout = 2000")
    makeTables(db)
    db.run("PRAGMA journal_mode = WAL")
    db.run("PRAGMA synchronous = NORMAL")
    db.run("PRAGMA foreign_keys = ON")
    // So that REPLACE fires the delete trigger too.
    db.run("PRAGMA recursive_triggers = ON")
    // Overwrite deleted content with zeros.
    db.run("PRAGMA secure_delete = ON")
    return db
  } catch (cause) {
    db?.close()
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new ResponseStoreError(`Cannot keep responses in ${path} (${reason}); name another --responses-db.`, {
      cause,
    })
  }
}

/** @throws Error when the file is another program's, or of a later version. */
function makeTables(db: Database): void {
  const number = (pragma: string): number =>
    z.number().parse(Object.values(z.record(z.string(), z.unknown()).parse(db.query(pragma).get()))[0])
  db.transaction(() => {
    if (number("SELECT count(*) FROM sqlite_schema") === 0) return db.run(TABLES)
    if (number("PRAGMA application_id") !== APPLICATION_ID) throw new Error("it is another program's database")
    if (number("PRAGMA user_version") !== VERSION) throw new Error("another version of ROCmForge wrote it")
  }).immediate()
}
