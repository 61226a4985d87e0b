import { beforeEach, expect, test } from "bun:test"
import { z } from "zod"
import { fieldsWithoutEffect, noEffect, openObject } from "../../../../src/server/http/lenient.ts"
import { createLog } from "../../../../src/server/observe/log.ts"
import { Metrics } from "../../../../src/server/observe/metrics.ts"
import { RequestRecord, serveAs } from "../../../../src/server/observe/record.ts"

const message = openObject("messages[]", {
  content: z.string(),
  annotations: noEffect("describes sources"),
})
const schema = openObject("", {
  messages: z.array(message),
  user: noEffect("names the user", z.string()),
  kind: z.union([z.literal("a"), openObject("kind", { name: z.string() })]).optional(),
})

let metrics: Metrics
let lines: string[]
const parse = (body: unknown, strict = false) => {
  const log = createLog({ format: "json", level: "debug", write: (line) => lines.push(line) })
  const record = new RequestRecord("id", "POST", "/v1/test", { metrics, log }, strict, () => {})
  return serveAs(record, () => schema.safeParse(body))
}
const count = async (field: string) =>
  Number(
    new RegExp(`rocmforge_ignored_fields_total\\{field="${field}"\\} (\\d+)`).exec(await metrics.render())?.[1] ?? 0,
  )

beforeEach(() => {
  metrics = new Metrics(() => [])
  lines = []
})

test("unknown keys are removed, counted as unknown, and logged once by name", async () => {
  const body = { messages: [{ content: "x", first_unknown: 1 }], second_unknown: { a: 1 } }
  expect(parse(body)).toEqual({ success: true, data: { messages: [{ content: "x" }] } })
  parse(body)
  expect(await count("unknown")).toBe(4)
  expect(lines.filter((line) => line.includes('"messages[].first_unknown"'))).toHaveLength(1)
  expect(lines.filter((line) => line.includes('"second_unknown"'))).toHaveLength(1)
  expect(body.second_unknown).toEqual({ a: 1 })
})

test("known fields without effect are counted by name, unless they are null", async () => {
  parse({ messages: [{ content: "x", annotations: [] }], user: "me" })
  parse({ messages: [{ content: "x", annotations: null }], user: null, unknown_null: null })
  expect(await count("messages\\[\\]\\.annotations")).toBe(1)
  expect(await count("user")).toBe(1)
  expect(await count("unknown")).toBe(0)
  expect(fieldsWithoutEffect.get("messages[].annotations")).toBe("describes sources")
  expect(parse({ messages: [], user: 7 }).success).toBe(false)
})

test("a strict server refuses unknown keys and names their place", () => {
  expect(parse({ messages: [{ content: "x", third: 1 }] }, true).error?.issues[0]).toMatchObject({
    code: "unrecognized_keys",
    keys: ["third"],
    path: ["messages", 0],
  })
  expect(parse({ messages: [], kind: { name: "n", odd: 1 } }, true).success).toBe(false)
  expect(parse({ messages: [{ content: "x", annotations: [1], nothing: null }], user: "me" }, true).success).toBe(true)
})

test("the described schema allows further keys", () => {
  expect(z.toJSONSchema(schema, { io: "input" })).toMatchObject({
    properties: { user: { description: "Accepted without effect: it names the user." } },
    additionalProperties: {},
  })
})
