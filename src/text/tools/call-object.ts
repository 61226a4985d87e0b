/** A call as most models write it: `{"name": …, "arguments": {…}}`. */

import type { Reader, Reading } from "./reader.ts"

/** What the arguments are called: Llama says `parameters`. */
const ARGUMENTS = ["arguments", "parameters"]
/** What else a call may say of itself. */
const ASIDE = ["id", "type"]
const KEYS = ["name", ...ARGUMENTS, ...ASIDE]

/**
 * One call of a known tool, whose `{` comes next. Its arguments come out while they are read, unless the name stands behind them; a call
 * without any has `{}`.
 * @returns whether it is one; otherwise what is held is none of a call
 */
export function* callObject(reader: Reader, tools: readonly string[]): Reading<boolean> {
  if (!(yield* reader.literal("{"))) return false
  return yield* callMembers(reader, tools)
}

/** The same, behind its `{`. */
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

/** Calls in a list, whose `[` comes next. @returns whether all of it is right */
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
