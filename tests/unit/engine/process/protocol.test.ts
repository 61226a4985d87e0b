import { expect, test } from "bun:test"
import { deserialize, serialize } from "node:v8"
import { realClock } from "../../../../src/async.ts"
import { parseToChild, type ToChild } from "../../../../src/engine/process/protocol.ts"
import { SupervisedRequest } from "../../../../src/engine/process/supervised-request.ts"
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
