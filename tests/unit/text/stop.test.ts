import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { MAX_STOP_STRINGS, StopError, StopMatcher } from "../../../src/text/stop.ts"

/** Pushes the parts; returns the emitted text and the stop string. */
function run(stops: readonly string[], parts: readonly string[]): { shown: string; stop: string | undefined } {
  const matcher = new StopMatcher(stops)
  let shown = ""
  for (const part of parts) {
    const { text, stop } = matcher.push(part)
    shown += text
    if (stop !== undefined) return { shown, stop }
  }
  return { shown: shown + matcher.flush(), stop: undefined }
}

/** The reference, which tries every end: the first end wins, then the longest string. */
function reference(stops: readonly string[], text: string): { shown: string; stop: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0]
    if (found !== undefined) return { shown: text.slice(0, end - found.length), stop: found }
  }
  return { shown: text, stop: undefined }
}

describe("stop strings", () => {
  test("are found across pushes and never emitted", () => {
    expect(run(["</end>"], ["hello <", "/e", "nd", "> more"])).toEqual({ shown: "hello ", stop: "</end>" })
  })
  test("only text that may begin a stop string is held back", () => {
    const matcher = new StopMatcher(["\n\nUser:", "###"])
    expect(matcher.push("a\n")).toEqual({ text: "a", stop: undefined })
    expect(matcher.push("b\n\n#")).toEqual({ text: "\nb\n\n", stop: undefined })
    expect(matcher.push("#x")).toEqual({ text: "##x", stop: undefined })
    expect(matcher.push("\n\nUse")).toEqual({ text: "", stop: undefined })
    expect(matcher.flush()).toBe("\n\nUse")
  })
  test("with overlapping beginnings are found", () => {
    expect(run(["aab"], ["aa", "aa", "b"])).toEqual({ shown: "aa", stop: "aab" })
    expect(run(["abcd", "bc"], ["abcd"])).toEqual({ shown: "a", stop: "bc" })
    expect(run(["abc", "bc"], ["ab", "c"])).toEqual({ shown: "", stop: "abc" })
  })
  test("without stop strings all text is emitted", () => {
    expect(new StopMatcher([]).push("text")).toEqual({ text: "text", stop: undefined })
  })
  test("invalid lists are refused", () => {
    expect(() => new StopMatcher(["a", ""])).toThrow(StopError)
    expect(() => new StopMatcher(Array(MAX_STOP_STRINGS + 1).fill("x"))).toThrow(/at most 64/)
    expect(new StopMatcher(Array.from({ length: MAX_STOP_STRINGS }, (_, i) => `s${i}`)).push("s15").stop).toBe("s1")
  })
  test("a matcher serves one text", () => {
    const matcher = new StopMatcher(["x"])
    matcher.push("x")
    expect(() => matcher.push("y")).toThrow(StopError)
  })
})

test("however the text is cut, the result equals the reference, and no push emits text of a later match", () => {
  const letters = fc.string({ unit: fc.constantFrom("a", "b", "c", "é", "😀"), minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(
      fc.array(letters, { maxLength: 4 }),
      fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c", "é", "😀"), maxLength: 6 }), { maxLength: 8 }),
      (stops, parts) => {
        expect(run(stops, parts)).toEqual(reference(stops, parts.join("")))
      },
    ),
    { numRuns: 5000, seed: 4 },
  )
})

test("held text is never longer than needed: it is the beginning of a stop string", () => {
  const word = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 2, maxLength: 6 })
  fc.assert(
    fc.property(
      fc.array(word, { minLength: 1, maxLength: 4 }),
      fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 10 }),
      (stops, text) => {
        const matcher = new StopMatcher(stops)
        const pushed = matcher.push(text)
        if (pushed.stop !== undefined) return
        const held = matcher.flush()
        expect(pushed.text + held).toBe(text)
        expect(held === "" || stops.some((stop) => stop.startsWith(held))).toBe(true)
      },
    ),
    { numRuns: 2000, seed: 6 },
  )
})
