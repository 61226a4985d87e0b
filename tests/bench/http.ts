/**
 * Measures the cost of the server alone, over an engine that computes nothing:
 *
 *     bun tests/bench/http.ts [--engine inside|apart] [--model FILE] [--seconds 5] [--json]
 *
 * The engine answers at once (http/null-engine.ts). Everything that `rocmforge serve` enables by default is on: validation of requests
 * and answers, chat template, tokenizer, detokenizer, metrics, request ids, a log line for every request. The server has one processor,
 * and its 64 clients another. `inside`: the engine runs in the server's process; `apart`: in a child process, on the clients' processor.
 * Exits with 1 below the floors: 3000 chat answers/s of 16 tokens, and 50000 streamed tokens/s.
 */

import { parseArgs } from "node:util"
import { resolveModel } from "../../src/store/resolve.ts"
import { FLOORS, type LoadReport, measureHttp } from "./http/measure.ts"

const { values } = parseArgs({
  options: {
    engine: { type: "string", default: "inside" },
    model: { type: "string", default: "smollm2-135m" },
    seconds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
})
const { engine } = values
if (engine !== "inside" && engine !== "apart") throw new Error("--engine is inside or apart")

const report = await measureHttp({
  model: await resolveModel(values.model),
  engine,
  seconds: Number(values.seconds),
  tokens: { chat: 16, stream: 512 },
  pinned: true,
})
if (values.json) console.log(JSON.stringify({ engine, ...report }))
else {
  console.log(line("chat answers", report.chat, FLOORS.chat))
  console.log(line("streamed tokens", report.stream, FLOORS.stream))
}
process.exit(report.chat.perSecond >= FLOORS.chat && report.stream.perSecond >= FLOORS.stream ? 0 : 1)

function line(
  what: string,
  { perSecond, serverUs, engineUs, serverBusy, clientsBusy }: LoadReport,
  floor: number,
): string {
  const percent = (share: number) => `${(share * 100).toFixed(0)} %`
  const apart = engineUs > 0 ? ` + ${engineUs.toFixed(1)} µs in the engine's process` : ""
  const busy = `server ${percent(serverBusy)}, clients ${percent(clientsBusy)} of a processor`
  return `${perSecond.toFixed(0)} ${what}/s (floor ${floor}): ${serverUs.toFixed(1)} µs each${apart}; ${busy}`
}
