/** A copy of a value in which the keys of all objects, at every depth, are snake_case, as in the JSON that ROCmForge writes. */
export function snakeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeKeys)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [snakeCase(key), snakeKeys(each)]))
}

/** `nKvHeads` → `n_kv_heads`. */
const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
