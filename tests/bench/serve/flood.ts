/** More connections than the server takes requests: what becomes of each, and of the server's memory. */

import { complete, type Target } from "./client.ts"
import type { RequestRecord } from "./measure.ts"
import { randomPrompt } from "./random.ts"
import { residentMemory } from "./server.ts"

export interface FloodOptions {
  connections: number
  /** Requests that may wait at the server; as those begin, others take their places. */
  bound: number
  prompt: number
  generate: number
  /** 0: every connection asks once. Otherwise all of them ask again and again for so long. */
  minutes: number
}

export interface FloodReport extends FloodOptions {
  requests: number
  served: number
  refused: number
  lost: number
  reasons: string[]
  /** Most answers being streamed at once. */
  peak_streams: number
  /** Bytes without mapped files, of the server's processes, at even intervals; empty for a server that is not ours. */
  memory: number[]
  /** Mean of the last fifth of the samples over that of the second fifth (the first one warms up). */
  memory_growth: number | undefined
  passed: boolean
}

const SAMPLE_MS = 2000
/** Growth that is taken for noise. */
const FLAT = 1.05

export async function flood(target: Target, options: FloodOptions, pid: number | undefined): Promise<FloodReport> {
  const { connections, bound, minutes } = options
  const until = performance.now() + minutes * 60_000
  const count = { requests: 0, served: 0, refused: 0, lost: 0 }
  const reasons = new Set<string>()
  let seed = 1
  let streaming = 0
  let peak_streams = 0
  const ask = async (): Promise<RequestRecord> => {
    const prompt = randomPrompt(options.prompt, seed++, target.n_vocab)
    let begun = false
    const onPiece = () => {
      if (begun) return
      begun = true
      peak_streams = Math.max(peak_streams, ++streaming)
    }
    const record = await complete({ ...target, retries: 0 }, { prompt, max_tokens: options.generate, onPiece })
    if (begun) streaming--
    return record
  }
  const connection = async () => {
    do {
      const record = await ask()
      count.requests++
      count[record.outcome]++
      if (record.outcome === "lost" && record.reason) reasons.add(record.reason)
      // As a client that does what Retry-After says at the least.
      if (record.outcome === "refused" && minutes > 0) await Bun.sleep(1000 + 1000 * Math.random())
    } while (performance.now() < until)
  }
  const memory: number[] = []
  const sample = () => pid !== undefined && memory.push(residentMemory(pid).anonymous)
  sample()
  const timer = setInterval(sample, SAMPLE_MS)
  await Promise.all(Array.from({ length: connections }, connection)).finally(() => clearInterval(timer))
  sample()
  const memory_growth = minutes > 0 ? growth(memory) : undefined
  const told = count.served >= Math.min(bound, connections) && (connections <= 2 * bound || count.refused > 0)
  const passed = count.lost === 0 && told && (memory_growth === undefined || memory_growth <= FLAT)
  return { ...options, ...count, reasons: [...reasons], peak_streams, memory, memory_growth, passed }
}

/** How much the last fifth is above the second one; `undefined` of fewer than ten samples. */
export function growth(samples: readonly number[]): number | undefined {
  const fifth = Math.floor(samples.length / 5)
  if (fifth < 2) return undefined
  const mean = (part: readonly number[]) => part.reduce((sum, each) => sum + each, 0) / part.length
  return mean(samples.slice(-fifth)) / mean(samples.slice(fifth, 2 * fifth))
}
