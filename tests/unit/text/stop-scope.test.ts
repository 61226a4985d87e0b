import { expect, test } from "bun:test"
import { StopScope } from "../../../src/text/stop-scope.ts"

/** The text with the parts in which stop strings do not count between brackets, cut into pushes of `size` units. */
function marked(options: ConstructorParameters<typeof StopScope>[0], text: string, size: number): string {
  const scope = new StopScope(options)
  const parts = []
  for (let at = 0; at < text.length; at += size) parts.push(...scope.push(text.slice(at, at + size)))
  parts.push(...scope.flush())
  let [out, stops] = ["", true]
  for (const part of parts) {
    if (part.stops !== stops) out += part.stops ? "⟧" : "⟦"
    stops = part.stops
    out += part.text
  }
  return stops ? out : `${out}⟧`
}

const json = { json: true }
const call = { json: false, trigger: "<tool_call>" }
const marks = { open: "<think>", close: "</think>" }

test.each([
  ["strings of JSON", json, '{"a": ["b", 1, "c\\"d\\\\"], "": "', '{⟦"a"⟧: [⟦"b"⟧, 1, ⟦"c\\"d\\\\"⟧], ⟦""⟧: ⟦"⟧'],
  ["an escape at the end", json, '"a\\', '⟦"a\\⟧'],
  ["calls", call, "Hm. <tool <tool_call>{}</tool_call>\nx", "Hm. <tool ⟦<tool_call>{}</tool_call>\nx⟧"],
  ["no calls", call, 'Hm. "x" <tool_cal', 'Hm. "x" <tool_cal'],
  ["calls after JSON", { ...call, json: true }, '{"a":1}<tool_call>', '{⟦"a"⟧:1}⟦<tool_call>⟧'],
  [
    "reasoning",
    { ...json, reasoning: { ...marks, inside: false } },
    ' <think>"a"</think>"b"',
    ' <think>"a"</think>⟦"b"⟧',
  ],
  ["no reasoning", { ...json, reasoning: { ...marks, inside: false } }, '<th"b"', '<th⟦"b"⟧'],
  [
    "begun reasoning",
    { ...call, reasoning: { ...marks, inside: true } },
    "<tool_call></think><tool_call>",
    "<tool_call></think>⟦<tool_call>⟧",
  ],
  ["only the beginning of reasoning", { ...json, reasoning: { ...marks, inside: false } }, "<thi", "<thi"],
])("%s, however the text is cut", (_, options, text, expected) => {
  for (let size = 1; size <= text.length; size++) expect(marked(options, text, size)).toBe(expected)
})
