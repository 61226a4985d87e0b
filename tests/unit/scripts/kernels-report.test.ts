/** Parsing of code objects, the rules for kernels, and the table, with excerpts of the output of LLVM's tools. */

import { describe, expect, test } from "bun:test"
import { countInstructions, type KernelFacts, occupancy, parseNotes } from "../../../scripts/kernels/facts.ts"
import { checkKernels, compareKernels } from "../../../scripts/kernels/gates.ts"
import { formatTable, parseTable } from "../../../scripts/kernels/table.ts"

const NOTES = `Displaying notes found in: .note
amdhsa.kernels:
  - .args:
      - .offset:         0
        .size:           48
        .name:           not_a_kernel
    .group_segment_fixed_size: 16816
    .name:           rf_one
    .private_segment_fixed_size: 0
    .vgpr_count:     52
  - .agpr_count:     0
    .args:
      - .offset:         0
    .name:           rf_two
    .sgpr_spill_count: 3
amdhsa.target:   amdgcn-amd-amdhsa--gfx942
`
const LISTING = `
<rf_one>:
	v_dot4_i32_iu8 v1, v2, v3, v1 neg_lo:[1,1,0]
	v_dot4_i32_i8 v1, v2, v3, v1
	s_endpgm

0000000000001900 <rf_two>:
	v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]
	v_mfma_f32_32x32x8_f16 a[0:15], v[0:1], v[2:3], a[0:15]
`

const facts = (kernel: string, values: Partial<KernelFacts> = {}): KernelFacts => ({
  arch: "gfx1100",
  kernel,
  vgprs: 64,
  sgprs: 20,
  lds: 0,
  scratch: 0,
  spills: 0,
  waves: 16,
  dot: 0,
  matrix: 0,
  ...values,
})
const sound = [
  facts("rf_matvec_Q4_0_n1", { dot: 32 }),
  facts("rf_matvec_swiglu_MXFP4_n8", { dot: 32 }),
  facts("rf_matvec_swiglu_F16_n1"),
  facts("rf_matmul_Q4_0_f16_t128", { matrix: 64, lds: 32768, waves: 6 }),
  facts("rf_attention_flash_64", { matrix: 16 }),
  facts("rf_repack", { scratch: 16, spills: 2 }),
]

test("reads the fields of each kernel, not those of its arguments", () => {
  const [one, two, ...rest] = parseNotes(NOTES)
  expect(rest).toEqual([])
  expect(one?.get("name")).toBe("rf_one")
  expect(one?.get("group_segment_fixed_size")).toBe("16816")
  expect(two?.get("name")).toBe("rf_two")
  expect(two?.get("sgpr_spill_count")).toBe("3")
})

test("counts dot and matrix instructions by kernel", () => {
  const counts = countInstructions(LISTING)
  expect(counts.get("rf_one")).toEqual({ dot: 2, matrix: 0 })
  expect(counts.get("rf_two")).toEqual({ dot: 0, matrix: 2 })
})

test("occupancy equals LLVM's for the same kernel", () => {
  expect(occupancy("gfx1100", 13, 0, 8)).toBe(16)
  expect(occupancy("gfx1100", 254, 35840, 4)).toBe(3)
  expect(occupancy("gfx1100", 128, 33024, 8)).toBe(6)
  expect(occupancy("gfx942", 105, 4160, 4)).toBe(4)
  expect(occupancy("gfx942", 340, 35840, 2)).toBe(1)
})

describe("rules", () => {
  test("valid kernels pass; kernels that run once per weight may spill", () => expect(checkKernels(sound)).toEqual([]))

  test.each([
    ["spills", { spills: 1, dot: 32 }, "rf_matvec_Q4_0_n1 on gfx1100 spills 1 registers"],
    ["uses scratch", { scratch: 4, dot: 32 }, "rf_matvec_Q4_0_n1 on gfx1100 uses 4 bytes of scratch per lane"],
    ["lost dot4", {}, "rf_matvec_Q4_0_n1 on gfx1100 lacks dot4 in the decode mat-vec of quantized weights"],
  ])("a mat-vec that %s is named", (_, values, problem) => {
    expect(checkKernels([facts("rf_matvec_Q4_0_n1", values), ...sound.slice(1)])).toEqual([problem])
  })

  test("scalars that a mat-vec of several rows keeps in vector registers count as spills", () => {
    const parked = facts("rf_matvec_swiglu_MXFP4_n8", { dot: 32, spills: 12 })
    expect(checkKernels([...sound, parked])).toEqual(["rf_matvec_swiglu_MXFP4_n8 on gfx1100 spills 12 registers"])
  })

  test("a matrix product without matrix instructions is a problem", () => {
    const kernels = [...sound, facts("rf_matmul_swiglu_Q6_K_bf16_t32")]
    expect(checkKernels(kernels)).toEqual([
      "rf_matmul_swiglu_Q6_K_bf16_t32 on gfx1100 lacks matrix instructions in the matrix product",
    ])
  })

  test("a rule that matches no kernel is a problem: the kernel was renamed", () => {
    expect(checkKernels(sound.slice(0, 4)).join()).toContain("no kernel on gfx1100 matches the rule")
  })
})

describe("the table", () => {
  const table = { compiler: "Debian Clang 19.1.7", kernels: [...sound, facts("rf_rows", { arch: "gfx90a" })] }

  test("is the same after formatting and parsing", () => expect(parseTable(formatTable(table))).toEqual(table))

  test("a malformed line is an error", () => {
    expect(() => parseTable(`${formatTable(table)}rf_new 1 2\n`)).toThrow("not a row")
  })

  test("more registers, more LDS and fewer waves are reported; improvements are not", () => {
    const now = [facts("rf_a", { vgprs: 65 }), facts("rf_b", { lds: 64, waves: 15 }), facts("rf_c", { vgprs: 12 })]
    expect(compareKernels(now, [facts("rf_a"), facts("rf_b"), facts("rf_c")])).toEqual([
      "rf_a on gfx1100 needs 65 VGPRs instead of 64",
      "rf_b on gfx1100 needs 64 bytes of LDS instead of 0",
      "rf_b on gfx1100 runs 15 waves per SIMD instead of 16",
    ])
  })

  test("new and removed kernels are reported", () => {
    expect(compareKernels([facts("rf_new")], [facts("rf_old")])).toEqual([
      "rf_new on gfx1100 is not in the table",
      "rf_old on gfx1100 is in the table but no longer exists",
    ])
  })
})
