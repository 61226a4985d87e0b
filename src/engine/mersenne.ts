/**
 * The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), in 64-bit numbers. llama.cpp draws one for each token, so that with its
 * seed and these numbers the same tokens are drawn from the same distribution.
 */

const SIZE = 624
const SHIFT = 397

export class MersenneTwister {
  readonly #state = new Uint32Array(SIZE)
  #at = SIZE
  readonly #numbers: bigint[] = []

  /** @param seed Its low 32 bits count. */
  constructor(seed: bigint) {
    const state = this.#state
    state[0] = Number(BigInt.asUintN(32, seed))
    for (let i = 1; i < SIZE; i++) {
      const last = state[i - 1] as number
      state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i
    }
  }

  /** The 64-bit number with this index. It consists of two outputs of the generator; the first is the lower half. */
  at(index: number): bigint {
    while (this.#numbers.length <= index) {
      const low = BigInt(this.#next())
      this.#numbers.push((BigInt(this.#next()) << 32n) | low)
    }
    return this.#numbers[index] ?? 0n
  }

  #next(): number {
    if (this.#at === SIZE) this.#twist()
    let y = this.#state[this.#at++] as number
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    return (y ^ (y >>> 18)) >>> 0
  }

  #twist(): void {
    const state = this.#state
    for (let i = 0; i < SIZE; i++) {
      const y = ((state[i] as number) & 0x80000000) | ((state[(i + 1) % SIZE] as number) & 0x7fffffff)
      state[i] = (state[(i + SHIFT) % SIZE] as number) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    this.#at = 0
  }
}
