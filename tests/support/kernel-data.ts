/** Deterministic numbers for kernel cases: the same seed gives the same data on every machine. */

/** A 32-bit permuted congruential generator (RXS-M-XS of O'Neill, "PCG", 2014). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = (Math.imul(seed, 0x9e3779b1) ^ 0x85ebca6b) >>> 0
    this.uint32()
    this.uint32()
  }

  /** Uniform over 0 … 2^32 - 1. */
  uint32(): number {
    const state = this.#state
    this.#state = (Math.imul(state, 747796405) + 2891336453) >>> 0
    const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737)
    return ((word >>> 22) ^ word) >>> 0
  }

  /** Uniform over [0, 1). */
  uniform(): number {
    return this.uint32() / 2 ** 32
  }

  /** Uniform over the integers 0 … n - 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n)
  }

  /** Standard normal (Box and Muller, 1958). */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform())
  }

  /** Shuffles in place; every order is equally likely (Fisher and Yates). */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1)
      const held = items[i] as T
      items[i] = items[j] as T
      items[j] = held
    }
    return items
  }
}

/** `n` normal values with the given standard deviation. */
export function normals(n: number, seed: number, deviation = 1): Float32Array {
  const random = new Random(seed)
  return Float32Array.from({ length: n }, () => random.normal() * deviation)
}

/** `n` values around 1, for norm weights. */
export function gains(n: number, seed: number): Float32Array {
  const random = new Random(seed)
  return Float32Array.from({ length: n }, () => 1 + 0.25 * random.normal())
}

/** Rounds to binary16 and back, as an f16 cache does. */
export function toHalf(values: Float32Array): Float32Array {
  return Float32Array.from(new Float16Array(values))
}

/**
 * Rounds to q8_0 and back, as a q8_0 cache does (ggml's block_q8_0): 32 neighbours share a binary16 scale = amax / 127, and each
 * value becomes the nearest multiple of the scale, ties to even.
 */
export function toQ80(values: Float32Array): Float32Array {
  const out = new Float32Array(values.length)
  for (let start = 0; start < values.length; start += 32) {
    const group = values.subarray(start, start + 32)
    const scale = Math.fround(group.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127)
    const inverse = scale > 0 ? Math.fround(1 / scale) : 0
    const kept = new Float16Array([scale])[0] as number
    for (const [i, x] of group.entries()) out[start + i] = kept * roundToEven(Math.fround(x * inverse))
  }
  return out
}

function roundToEven(x: number): number {
  const magic = 1.5 * 2 ** 52 // a sum with it has no bits for a fraction
  return x + magic - magic
}

/** A view of the bytes of a typed array. */
export function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength)
}
