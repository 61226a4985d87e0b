import { describe, expect, test } from "bun:test"
import { expectedLayout, layoutDifference, RF_OP, RF_STEP_OUTPUT, RF_TENSOR } from "../../../src/native/abi.ts"
import { readNumber, readText, struct, writeStruct } from "../../../src/native/struct.ts"

describe("struct layouts", () => {
  test("fields have their natural alignment, and the struct that of its widest field", () => {
    const s = struct("S", { a: "char", b: "u32", c: ["char", 3], d: "u64", e: "f32" })
    expect(Object.values(s.fields).map(({ offset }) => offset)).toEqual([0, 4, 8, 16, 24])
    expect(s.size).toBe(32)
  })

  test("sizes equal those of hip/abi.h in C", () => {
    expect([RF_TENSOR.size, RF_OP.size, RF_STEP_OUTPUT.size]).toEqual([40, 128, 112])
  })

  test("written fields are read back, and other fields do not change", () => {
    const s = struct("S", { a: "u32", b: ["i32", 2], c: "f32", d: "u64", text: ["char", 8] })
    const view = new DataView(new ArrayBuffer(s.size + 4))
    view.setUint8(4 + s.fields.text.offset, 0x68)
    writeStruct(view, 4, s, { a: 0xffffffff, b: [-1, 2], c: 0.5, d: 2 ** 40 })
    expect(readNumber(view, 4, s, "a")).toBe(0xffffffff)
    expect(readNumber(view, 4, s, "b")).toBe(-1)
    expect(view.getInt32(4 + s.fields.b.offset + 4, true)).toBe(2)
    expect(readNumber(view, 4, s, "c")).toBe(0.5)
    expect(readNumber(view, 4, s, "d")).toBe(2 ** 40)
    expect(readText(view, 4, s, "text")).toBe("h")
    expect(() => writeStruct(view, 4, s, { b: [1, 2, 3] })).toThrow("S.b holds 2 elements, not 3")
  })
})

describe("layout text", () => {
  const layout = expectedLayout()

  test("lists constants, structs, ops, flags and formats in order, without reserved fields", () => {
    expect(layout).toStartWith(
      "abi=5;constant.BLOCK_SIZE=16;constant.MAX_TOP_LOGPROBS=20;rows.FIXED=0;rows.TOKENS=1;rows.OUTPUTS=2;" +
        "dtype.f32=0;dtype.f16=1;dtype.q8_0=2;compute.f32=0;compute.f16=1;compute.bf16=2;status.OK=0;status.INVALID_ARGUMENT=1;",
    )
    expect(layout).toContain(";RfTensor.size=40;RfTensor.format=0;RfTensor.file=4;RfTensor.offset=8;")
    expect(layout).toContain(";RfPair.size=8;RfPair.token=0;RfPair.value=4;RfStepResult.size=176;")
    expect(layout).toContain(
      ";op.ROPE_STORE=6;op.ROPE_STORE.buffers=qkv:update,rope:in;op.ROPE_STORE.tensors=q_norm?,k_norm?;" +
        "op.ROPE_STORE.dims=n_heads,n_kv_heads,head_dim,rope_dim;op.ROPE_STORE.floats=eps;op.ROPE_STORE.flags=neox;" +
        "op.ROPE_STORE.cache=write;op.ATTENTION=7;",
    )
    expect(layout).toContain(";flag.causal=4;format.F32=0,1,4;")
    expect(layout).toContain(";format.Q4_0=2,32,18;")
    expect(layout).toEndWith(";")
    expect(layout).not.toContain("reserved")
  })

  test("equal layouts agree, also in another order", () => {
    expect(layoutDifference(layout, layout)).toBeUndefined()
    expect(layoutDifference("a=1;b=2;", "b=2;a=1;")).toBeUndefined()
  })

  test("the first difference is reported", () => {
    expect(layoutDifference(layout, layout.replace("RfOp.cache=56", "RfOp.cache=60"))).toBe(
      "RfOp.cache is 60 in the library and 56 in TypeScript",
    )
    const slots = (from: string, to: string) => layoutDifference(layout, layout.replace(from, to))
    expect(
      slots("op.ATTENTION.dims=n_heads,n_kv_heads,head_dim,window", "op.ATTENTION.dims=n_heads,n_kv_heads,head_dim"),
    ).toBe('slot 3 of ATTENTION\'s dims is missing in the library and "window" in TypeScript')
    expect(slots("op.ATTENTION.floats=scale,", "op.ATTENTION.floats=softcap,")).toBe(
      'slot 0 of ATTENTION\'s floats is "softcap" in the library and "scale" in TypeScript',
    )
    expect(slots("op.RMS_NORM.dims=", "op.RMS_NORM.dims=axis")).toBe(
      'slot 0 of RMS_NORM\'s dims is "axis" in the library and missing in TypeScript',
    )
    expect(slots("op.MATMUL.buffers=in:in,out:out", "op.MATMUL.buffers=in:in,out:update")).toBe(
      'slot 1 of MATMUL\'s buffers is "out:update" in the library and "out:out" in TypeScript',
    )
    expect(layoutDifference("a=1;b=2;", "a=1;")).toBe("b is missing in the library and 2 in TypeScript")
    expect(layoutDifference("a=1;", "a=1;c=3;")).toBe("c is 3 in the library and missing in TypeScript")
  })
})
