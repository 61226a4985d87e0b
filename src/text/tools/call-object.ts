/** Parses a tool call in the form that most models write: `{"name": …, "arguments": {…}}`. */

import type { Reader, Reading } from "./reader.ts"

/** Keys of the arguments: Llama writes `parameters`. */
const ARGUMENTS = ["arguments", "parameters"]
/** Other keys that a call may have; their values are ignored. */
const ASIDE = ["id", "type"]
const KEYS = ["name", ...ARGUMENTS, ...ASIDE]

/**
 * Reads a call of a known tool, from its `{` on. Its arguments are emitted while they are read, unless the name comes after them. A call
 * without arguments has `{}`.
 * @returns whether the text is a call. If it is not, the held text is content.
 */
export function* callObject(reader: Reader, tools: readonly string[]): Reading<boolean> {
  if (!(yield* reader.literal("{"))) return false
  return yield* callMembers(reader, tools)
}

/** Reads a call as `callObject` does, from after its `{` on. */
export function* callMembers(reader: Reader, tools: readonly string[]): Reading<boolean> {
  let name: string | undefined
  let args: string | undefined
  let begun = false
  do {
    yield* reader.space()
    const key = yield* reader.quoted(KEYS)
    if (key === undefined) return false
    yield* reader.space()
    if (!(yield* reader.literal(":"))) return false
    yield* reader.space()
    if (key === "name" && name === undefined) {
      name = yield* reader.quoted(tools)
      if (name === undefined) return false
    } else if (ARGUMENTS.includes(key) && args === undefined) {
      if ((yield* reader.peek()) !== "{") return false
      args = ""
      if (name === undefined) args = yield* reader.value()
      else {
        reader.begin(name)
        begun = true
        if (!(yield* reader.arguments())) return false
      }
      if (args === undefined) return false
    } else if (!ASIDE.includes(key) || (yield* reader.value()) === undefined) return false
    yield* reader.space()
  } while (yield* reader.literal(","))
  if (name === undefined || !(yield* reader.literal("}"))) return false
  if (begun) reader.drop()
  else reader.begin(name, args ?? "{}")
  return true
}

/** Reads a list of calls, from its `[` on. @returns whether the whole list is valid */
export function* callList(reader: Reader, tools: readonly string[]): Reading<boolean> {
  if (!(yield* reader.literal("["))) return false
  for (;;) {
    yield* reader.space()
    if (yield* reader.literal("]")) return true
    if (!(yield* callObject(reader, tools))) return false
    yield* reader.space()
    if (!(yield* reader.literal(","))) return yield* reader.literal("]")
  }
}
