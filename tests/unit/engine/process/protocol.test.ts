import { expect, test } from "bun:test"
import { deserialize, serialize } from "node:v8"
import { realClock } from "../../../../src/async.ts"
import { parseToChild, type ToChild } from "../../../../src/engine/process/protocol.ts"
import { SupervisedRequest } from "../../../../src/engine/process/supervised-request.ts"
import { GREEDY } from "../../../../src/engine/types.ts"
import { constraintOf } from "../../../../src/grammar/constraint.ts"
import { parseJson } from "../../../../src/json.ts"
import { request } from "../requests.ts"

test("a schema crosses into the engine process with its numbers and the order of its keys", () => {
  const text = '{"properties":{"2":{"maximum":9223372036854775807},"1":{"const":1.0}}}'
  const schema = parseJson(text) as Record<string, unknown>
  const sent: ToChild = {
    type: "generate",
    handle: 1,
    request: new SupervisedRequest(
      request("a", [1], { constraint: constraintOf({ type: "json_schema", schema }, "form") }),
      realClock,
    ).forProcess(1),
  }
  const [received] = parseToChild(deserialize(serialize([sent])))
  const constraint = received?.type === "generate" ? received.request.constraint : undefined
  expect(constraint?.type === "json_schema" && constraint.schema).toBe(text)
})

test("rules of sampling cross into the engine process, exclusions included", () => {
  const sampling = {
    ...GREEDY,
    logitBias: new Map([[3, Number.NEGATIVE_INFINITY]]),
    badWords: [[1, 2], [3]],
    drySequenceBreakers: [[4, 5]],
    allowedTokens: new Set([1, 2]),
    mirostat: 2,
    temperatureLast: true,
  } as const
  const stopTokenIds = new Set([7])
  const asked = request("a", [1], { sampling, stopTokenIds })
  const [received] = parseToChild(deserialize(serialize([{ type: "generate", handle: 1, request: asked }])))
  expect(received).toMatchObject({ request: { sampling, stopTokenIds } })
  const infinite = request("a", [1], { sampling: { ...sampling, logitBias: new Map([[3, Number.POSITIVE_INFINITY]]) } })
  expect(() => parseToChild([{ type: "generate", handle: 1, request: infinite }])).toThrow()
})
