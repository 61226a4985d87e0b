/** Which JSON schemas texts can be kept to, remembered: the same tools come with every message of a conversation. */

import { GrammarError } from "../../grammar/expr.ts"
import { SchemaConverter } from "../../grammar/json-schema.ts"
import { JsonRules } from "../../grammar/json-text.ts"

/** Schemas that are remembered; the oldest makes way. */
const MAX_FOUND = 1024

/** By their hashes. */
const found = new Map<string, string | undefined>()

/** What of a schema cannot be kept; `undefined`: all of it can. */
export function unkeptPart(json: string): string | undefined {
  const hash = new Bun.CryptoHasher("sha256").update(json).digest("base64")
  if (found.has(hash)) return found.get(hash)
  const [oldest] = found.keys()
  if (oldest !== undefined && found.size >= MAX_FOUND) found.delete(oldest)
  const problem = problemOf(JSON.parse(json))
  found.set(hash, problem)
  return problem
}

function problemOf(schema: unknown): string | undefined {
  try {
    new SchemaConverter(schema, new JsonRules()).convert()
    return undefined
  } catch (error) {
    if (error instanceof GrammarError) return error.message
    throw error
  }
}
