/**
 * `greedy.ts BACKEND MODEL.gguf [TOKENS]`: compares the greedy texts of ten prompts on the CPU and on the backend. At least 8 must be
 * equal. For the others it prints the first difference: sums in another order may resolve a near tie differently.
 */

import { loadModel } from "../../src/engine/load.ts"
import { backendArgument, greedy, report } from "./support.ts"

const PROMPTS = [
  "The capital of France is",
  "Once upon a time, there was a small robot who",
  "1, 1, 2, 3, 5, 8,",
  "def fibonacci(n):\n",
  "Water boils at a temperature of",
  "Die Hauptstadt von Deutschland ist",
  "The three laws of motion state that",
  "To make a good cup of coffee, first",
  "Q: Why is the sky blue?\nA:",
  "In the year 1969, the first people",
]
const ENOUGH = 8

const backend = backendArgument()
const path = process.argv[3]
if (!path) throw new Error("name a model file")
const nTokens = Number(process.argv[4] ?? 64)

const cpu = await texts("cpu")
const other = await texts(backend)
let same = 0
for (const [i, prompt] of PROMPTS.entries()) {
  const [want, got] = [cpu.tokens[i] ?? [], other.tokens[i] ?? []]
  const differs = want.findIndex((token, at) => token !== got[at])
  if (differs < 0 && want.length === got.length) same++
  else console.log(`     ${JSON.stringify(prompt)}: token ${differs} of ${want.length} differs`)
}
console.log(`     ${JSON.stringify(PROMPTS[0])} ${JSON.stringify(other.first)}`)
report(
  same >= ENOUGH,
  `${same} of ${PROMPTS.length} greedy texts of ${nTokens} tokens are the CPU's, on ${other.device}`,
)

async function texts(device: string): Promise<{ tokens: number[][]; first: string; device: string }> {
  await using model = await loadModel(path as string, { device, ctxSize: 1024, maxSeqs: 1 })
  const { addBos } = model.tokenizer
  const tokens: number[][] = []
  for (const prompt of PROMPTS) tokens.push(await greedy(model, model.tokenizer.encode(prompt, { addBos }), nTokens))
  return { tokens, first: model.tokenizer.decode(tokens[0] ?? []), device: model.device.name }
}
