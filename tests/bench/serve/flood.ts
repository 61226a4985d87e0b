/** More connections than the server's queue holds: the outcome of every request, and the growth of the server's memory. */

import { complete, type Target } from "./client.ts"
import type { RequestRecord } from "./measure.ts"
import { randomPrompt } from "./random.ts"
import { residentMemory } from "./server.ts"

export interface FloodOptions {
  connections: number
  /** Capacity of the server's queue. A request that starts to run leaves its place to another. */
  bound: number
  prompt: number
  generate: number
  /** Minutes during which every connection repeats its request; 0: every connection sends one request. */
  minutes: number
}

export interface FloodReport extends FloodOptions {
  requests: number
  served: number
  refused: number
  lost: number
  reasons: string[]
  /** Highest number of answers being streamed at once. */
  peak_streams: number
  /** Resident bytes of the server's processes, without mapped files, at even intervals. Empty for a server given by --url. */
  memory: number[]
  /** Mean of the last fifth of the samples divided by that of the second fifth (the first is warm-up). */
  memory_growth: number | undefined
  passed: boolean
}

const SAMPLE_MS = 2000
/** Growth up to this ratio counts as noise. */
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
      // Waits at least as long as Retry-After says.
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

/** Mean of the last fifth divided by the mean of the second fifth; `undefined` for fewer than ten samples. */
export function growth(samples: readonly number[]): number | undefined {
  const fifth = Math.floor(samples.length / 5)
  if (fifth < 2) return undefined
  const mean = (part: readonly number[]) => part.reduce((sum, each) => sum + each, 0) / part.length
  return mean(samples.slice(-fifth)) / mean(samples.slice(fifth, 2 * fifth))
}
