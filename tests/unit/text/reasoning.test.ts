import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { endsInReasoning, ReasoningSplitter, reasoningMarks } from "../../../src/text/reasoning.ts"

const MARKS = { open: "<think>", close: "</think>" }

function split(parts: readonly string[], inside = false): { reasoning: string; content: string } {
  const splitter = new ReasoningSplitter(MARKS, inside)
  const pushes = [...parts.map((part) => splitter.push(part)), splitter.flush()]
  return {
    reasoning: pushes.map(({ reasoning }) => reasoning).join(""),
    content: pushes.map(({ content }) => content).join(""),
  }
}

/** The reference, computed from the whole text. */
function reference(text: string, inside: boolean): { reasoning: string; content: string } {
  const begun = /^\s*<think>([\s\S]*)$/.exec(text)?.[1] ?? (inside ? text : undefined)
  if (begun === undefined) return { reasoning: "", content: text }
  const [thoughts = "", ...answer] = begun.split("</think>")
  return { reasoning: thoughts.trim(), content: answer.join("</think>").trimStart() }
}

describe("reasoning", () => {
  test("is the text between the marks, without surrounding white space", () => {
    expect(split(["<think>\nLet me see.\n\nYes.\n</think>\n\nIt is 4."])).toEqual({
      reasoning: "Let me see.\n\nYes.",
      content: "It is 4.",
    })
  })
  test("begins without a mark if the prompt ends with it; a repeated mark is not text", () => {
    const answer = { reasoning: "Hm.", content: "4" }
    expect(split(["Hm.\n</think>4"], true)).toEqual(answer)
    expect(split(["<think>Hm.</think>4"], true)).toEqual(answer)
  })
  test("is empty for an answer that does not begin with a mark, even if marks come later", () => {
    const content = " The tag <think> is closed by </think>."
    expect(split([content])).toEqual({ reasoning: "", content })
  })
  test("may be cut off before its end mark", () => {
    expect(split(["<think>\nLet me </thi"])).toEqual({ reasoning: "Let me </thi", content: "" })
    expect(split(["  <thi"])).toEqual({ reasoning: "", content: "  <thi" })
  })
  test("is emitted as it arrives", () => {
    const splitter = new ReasoningSplitter(MARKS, false)
    const pushes = ["<think>", "\n", "a", " b ", "<", "c", "</think", ">", "\n", "d", " <"].map((part) =>
      splitter.push(part),
    )
    expect(pushes.map(({ reasoning }) => reasoning)).toEqual(["", "", "a", " b", "", " <c", "", "", "", "", ""])
    expect(pushes.map(({ content }) => content)).toEqual(["", "", "", "", "", "", "", "", "", "d", " <"])
  })
})

test("streaming gives the result of the whole text, however it is cut", () => {
  const piece = fc.constantFrom(
    "<think>",
    "</think>",
    "<",
    "</",
    "think>",
    "<thi",
    "nk>",
    " ",
    "\n",
    "a",
    "é",
    "😀",
    "\u00a0",
  )
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }),
      fc.boolean(),
      fc.array(fc.nat(60), { maxLength: 8 }),
      (pieces, inside, cuts) => {
        const text = pieces.join("")
        const at = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length]
        const parts = at.slice(1).map((end, i) => text.slice(at[i], end))
        const expected = reference(text, inside)
        expect(split(parts, inside)).toEqual(expected)
        expect(
          split(
            [...text].flatMap((c) => c.split("")),
            inside,
          ),
        ).toEqual(expected)
      },
    ),
    { numRuns: 5000, seed: 7 },
  )
})

test("only text that may begin a mark is held back", () => {
  const piece = fc.constantFrom("</think>", "<", "</t", " ", "a", "b")
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
      const splitter = new ReasoningSplitter(MARKS, true)
      for (const part of pieces) splitter.push(part)
      const { reasoning, content } = splitter.flush()
      expect(content).toBe("")
      expect(MARKS.close.startsWith(reasoning.trimStart())).toBe(true)
    }),
    { numRuns: 1000, seed: 8 },
  )
})

test("the marks come from the template; other models have none", () => {
  expect(reasoningMarks("{{ content.split('</think>')[-1] }}")).toEqual(MARKS)
  expect(reasoningMarks("[THINK]{{ m.thinking }}[/THINK]")?.open).toBe("[THINK]")
  expect(reasoningMarks("{{ m.content }} I think>")).toBeUndefined()
})

test("detects whether a prompt ends within reasoning", () => {
  expect(endsInReasoning("<|assistant|><think>\n", MARKS)).toBe(true)
  expect(endsInReasoning("<|assistant|><think>\n\n</think>\n\n", MARKS)).toBe(false)
  expect(endsInReasoning("<|assistant|>", MARKS)).toBe(false)
})
