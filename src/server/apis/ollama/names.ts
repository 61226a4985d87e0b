/** Ollama's names end in a tag, which is `latest` where a request leaves it out. */

import type { PoolEntry } from "../../pool/entry.ts"
import type { ModelPool } from "../../pool/pool.ts"

const LATEST = ":latest"

/** The model that a request means. @throws UnknownModelError */
export function findModel(models: ModelPool, name: string): PoolEntry {
  const other = name.endsWith(LATEST) ? name.slice(0, -LATEST.length) : name + LATEST
  const same = models.models.find((model) => model.name === name) ?? models.models.find((model) => model.name === other)
  return same ?? models.get(name)
}

/** A model's name with its tag. */
export const taggedName = (name: string): string =>
  name.slice(name.lastIndexOf("/") + 1).includes(":") ? name : name + LATEST
