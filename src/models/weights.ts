/** The tensors of a model file as weights of a plan: looked up by name, and checked against the expected shape. */

import { closeSync, openSync, readSync } from "node:fs"
import { assertFormats, type Gguf, getWeight, type WeightInfo } from "../gguf/reader.ts"
import type { PlanBuilder } from "../plan/builder.ts"
import type { Weight } from "../plan/operands.ts"
import { ModelError } from "./errors.ts"

/** Tensors that no op needs: tables of RoPE, which are computed from the metadata, in the spellings of old and new converters. */
const IGNORED =
  /(^|\.)(rope_freqs\.weight|rope_factors_(long|short)\.weight|attn_rot_embd|attn\.rotary_emb\.inv_freq|rotary_emb\.inv_freq)$/

export class ModelWeights {
  readonly #gguf: Gguf
  readonly #plan: PlanBuilder
  readonly #taken = new Map<string, Weight>()
  readonly #left = new Set<string>()

  /** @throws GgufError `unsupported-format` when any tensor has a format that ROCmForge does not compute with. */
  constructor(gguf: Gguf, plan: PlanBuilder) {
    assertFormats(gguf)
    this.#gguf = gguf
    this.#plan = plan
  }

  has(name: string): boolean {
    return this.#gguf.tensors.has(name)
  }

  /** The matrix `name`, [rows, cols]. @throws ModelError `missing-tensor` or `wrong-shape`, with the tensor's name and shape. */
  matrix(name: string, rows: number, cols: number): Weight {
    const known = this.#taken.get(name)
    if (known) return known
    const info = this.#find(name, [rows, cols])
    return this.#keep(
      this.#plan.weight(name, info.format, rows, cols, { file: info.file, offset: info.offset, nBytes: info.nBytes }),
    )
  }

  /** The vector `name`, f32 [length]. F16 and BF16 values are widened. @throws ModelError as `matrix`, and `wrong-format`. */
  vector(name: string, length: number): Weight {
    const known = this.#taken.get(name)
    if (known) return known
    const info = this.#find(name, [length])
    if (info.format.name === "F32") {
      const { file, offset, nBytes } = info
      return this.#keep(this.#plan.weight(name, info.format, 1, length, { file, offset, nBytes }))
    }
    return this.#keep(this.#plan.constant(name, this.#read(info)))
  }

  /** As `vector`; `undefined` if the file has no tensor of that name. */
  optionalVector(name: string, length: number): Weight | undefined {
    return this.has(name) ? this.vector(name, length) : undefined
  }

  /** The values of the tensor `name`, f32 [...shape]. @throws ModelError as `vector`. */
  values(name: string, ...shape: number[]): Float32Array {
    return this.#read(this.#find(name, shape))
  }

  /** The plan leaves the tensor `name` out on purpose. */
  leave(name: string): void {
    this.#left.add(name)
  }

  /** @throws ModelError `unused-tensor` for a tensor that no op uses, since the model then computes something that the plan does not. */
  assertAllUsed(): void {
    for (const name of this.#gguf.tensors.keys()) {
      if (this.#taken.has(name) || this.#left.has(name) || IGNORED.test(name)) continue
      const arch = this.#gguf.getString("general.architecture")
      throw new ModelError("unused-tensor", this.#gguf.path, `tensor "${name}" has no use in the ${arch} architecture`)
    }
  }

  #keep(weight: Weight): Weight {
    this.#taken.set(weight.name, weight)
    return weight
  }

  /** @param shape row-major, that is in the reverse order of the file's. */
  #find(name: string, shape: number[]): WeightInfo {
    const { path, tensors } = this.#gguf
    if (!tensors.has(name)) {
      throw new ModelError("missing-tensor", path, `tensor "${name}" [${shape.join(", ")}] is missing`)
    }
    const info = getWeight(this.#gguf, name)
    const found = withoutOnes([...info.shape].reverse())
    if (found.join() === withoutOnes(shape).join()) return info
    const problem = `tensor "${name}" is [${found.join(", ")}], expected [${shape.join(", ")}]`
    throw new ModelError("wrong-shape", path, problem)
  }

  #read(info: WeightInfo): Float32Array {
    const path = this.#gguf.files[info.file]?.path ?? this.#gguf.path
    const bytes = new Uint8Array(info.nBytes)
    const file = openSync(path, "r")
    try {
      let done = 0
      while (done < bytes.length) {
        const got = readSync(file, bytes, done, bytes.length - done, info.offset + done)
        if (got === 0) throw new ModelError("missing-tensor", path, `the data of tensor "${info.name}" ends early`)
        done += got
      }
    } finally {
      closeSync(file)
    }
    const view = new DataView(bytes.buffer)
    const count = bytes.length / info.format.blockBytes
    switch (info.format.name) {
      case "F32":
        return Float32Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true))
      case "F16":
        return Float32Array.from({ length: count }, (_, i) => view.getFloat16(2 * i, true))
      case "BF16": {
        const bits = Uint32Array.from({ length: count }, (_, i) => view.getUint16(2 * i, true) << 16)
        return new Float32Array(bits.buffer)
      }
      default:
        throw new ModelError(
          "wrong-format",
          path,
          `tensor "${info.name}" is in ${info.format.name}; it must be in F32, F16 or BF16`,
        )
    }
  }
}

/** A row-major shape without leading ones, with which some files pad it. */
function withoutOnes(shape: readonly number[]): readonly number[] {
  const first = shape.findIndex((size) => size !== 1)
  return first < 0 ? shape.slice(-1) : shape.slice(first)
}
