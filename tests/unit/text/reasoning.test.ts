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

/** The definition, on the whole text. */
function reference(text: string, inside: boolean): { reasoning: string; content: string } {
  const begun = /^\s*<think>([\s\S]*)$/.exec(text)?.[1] ?? (inside ? text : undefined)
  if (begun === undefined) return { reasoning: "", content: text }
  const [thoughts = "", ...answer] = begun.split("</think>")
  return { reasoning: thoughts.trim(), content: answer.join("</think>").trimStart() }
}

describe("reasoning", () => {
  test("is what stands between the marks, without the white space around it", () => {
    expect(split(["<think>\nLet me see.\n\nYes.\n</think>\n\nIt is 4."])).toEqual({
      reasoning: "Let me see.\n\nYes.",
      content: "It is 4.",
    })
  })
  test("begins without a mark where the prompt had it, and a second one is no text", () => {
    const answer = { reasoning: "Hm.", content: "4" }
    expect(split(["Hm.\n</think>4"], true)).toEqual(answer)
    expect(split(["<think>Hm.</think>4"], true)).toEqual(answer)
  })
  test("is empty for an answer that begins otherwise, whatever marks come later", () => {
    const content = " The tag <think> is closed by </think>."
    expect(split([content])).toEqual({ reasoning: "", content })
  })
  test("that is cut off is all there is", () => {
    expect(split(["<think>\nLet me </thi"])).toEqual({ reasoning: "Let me </thi", content: "" })
    expect(split(["  <thi"])).toEqual({ reasoning: "", content: "  <thi" })
  })
  test("comes out as it comes in", () => {
    const splitter = new ReasoningSplitter(MARKS, false)
    const pushes = ["<think>", "\n", "a", " b ", "<", "c", "</think", ">", "\n", "d", " <"].map((part) =>
      splitter.push(part),
    )
    expect(pushes.map(({ reasoning }) => reasoning)).toEqual(["", "", "a", " b", "", " <c", "", "", "", "", ""])
    expect(pushes.map(({ content }) => content)).toEqual(["", "", "", "", "", "", "", "", "", "d", " <"])
  })
})

test("streamed is unstreamed, however the text is cut", () => {
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

test("nothing is held that could not begin a mark", () => {
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

test("the marks are those of the template, and other models have none", () => {
  expect(reasoningMarks("{{ content.split('</think>')[-1] }}")).toEqual(MARKS)
  expect(reasoningMarks("[THINK]{{ m.thinking }}[/THINK]")?.open).toBe("[THINK]")
  expect(reasoningMarks("{{ m.content }} I think>")).toBeUndefined()
})

test("a prompt ends in its reasoning, or not", () => {
  expect(endsInReasoning("<|assistant|><think>\n", MARKS)).toBe(true)
  expect(endsInReasoning("<|assistant|><think>\n\n</think>\n\n", MARKS)).toBe(false)
  expect(endsInReasoning("<|assistant|>", MARKS)).toBe(false)
})
