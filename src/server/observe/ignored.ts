/** Parts of requests that have no effect: each is counted, and logged once at debug level. */

import { currentRequest } from "./record.ts"

/** Most names that the log shows. Clients can invent any number of them. */
const MAX_LOGGED = 1000
/** Characters of a name that the log shows. */
const LONGEST_NAME = 100
const logged = new Set<string>()

/**
 * Notes that a part of the current request has no effect.
 * @param name Where it is in the body, as `tools[].type=web_search`.
 * @param known The server's own name for something; not one that the client chose.
 */
export function noteIgnored(name: string, known = true): void {
  const record = currentRequest()
  if (record === undefined) return
  const { metrics, log } = record.observers
  metrics.ignored(known ? name : "unknown")
  const shown = name.slice(0, LONGEST_NAME)
  if (logged.has(shown) || logged.size >= MAX_LOGGED || !log?.isLevelEnabled("debug")) return
  logged.add(shown)
  log.debug({ field: shown, path: record.path }, "a field of the request has no effect")
}
