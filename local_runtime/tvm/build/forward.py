"""The whole forward as one kernel: embedding, layers, head. One definition with options for every family.

A forward of a small model is a few hundred microseconds; a graph interpreter that calls a kernel for every linear spent a
third of that on calls and checks. So the kernels are macros here, and a call is one function over a table of addresses.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from local_runtime.tvm.build.attention import attention
from local_runtime.tvm.build.embedding import table_row
from local_runtime.tvm.build.layout import MAX_RANK, RANK_BLOCK
from local_runtime.tvm.build.linear import linear
from local_runtime.tvm.build.logits import n_chunks, summarize
from local_runtime.tvm.build.plan import Plan


def forward(plan: Plan) -> Any:
    """Kernel: `local_runtime.tvm.run.library` documents its arguments; the last three are results.

    The number of rows of `logits` says of how many last tokens it is wanted.
    """
    c, names = plan.config, plan.names
    qkv_name, o_name, up_name, down_name = plan.projections
    qkv, o, up, down = plan.projections.values()
    head, heads, position_table = plan.head, plan.attention, plan.positions or plan.head
    embed = table_row(plan.weight, c.hidden_size, multiplier=c.embedding_multiplier)
    add_position = table_row(plan.weight, c.hidden_size, multiplier=c.embedding_multiplier, add=True)
    project = {name: linear(p) for name, p in plan.projections.items()}
    project_head = linear(head)
    attend = attention(heads)
    summary = summarize(c.vocab_size)
    chunks = n_chunks(c.vocab_size)
    head_name = names.embedding if c.tied_embeddings else names.head
    weight_name, scale_name = ("q_weight.packed", "q_scale.packed") if plan.weight.integer else ("weight.packed", "")
    widest_k = max(p.k for p in plan.projections.values())
    widest_groups = widest_k // plan.weight.group
    n_parameters, n_model, n_layer = len(plan.parameters), len(plan.model_parameters), len(plan.layer_parameters)
    rank_groups = max(len(p.parts) for p in plan.projections.values()) * MAX_RANK // RANK_BLOCK
    t_words = qkv.b.activation_words
    activation = plan.weight.activation_dtype
    scale_scratch, sum_scratch = (1, 2) if plan.weight.integer else (0, 0)  # floats have neither
    keys_shape, values_shape = heads.pool_shapes, heads.pool_shapes

    def indices(name: str) -> tuple[int, int]:
        """Places of a packed table's words and scales."""
        return plan.model_index(f"{name}.{weight_name}"), plan.model_index(f"{name}.{scale_name}")

    embed_index, embed_scale_index = indices(names.embedding)
    position_index, position_scale_index = indices(names.positions)
    head_index, head_scale_index = indices(head_name)
    norm_index, norm_bias_index = plan.model_index(f"{names.norm}.weight"), plan.model_index(f"{names.norm}.bias")

    def pointer(addresses: Any, index: Any) -> Any:
        return T.reinterpret("handle", addresses[index])

    def in_layer(addresses: Any, layer: Any, name: str) -> Any:
        index = plan.layer_index(name)
        return pointer(addresses, 0 if index is None else n_model + layer * n_layer + index)

    @T.macro
    def project_layer(name, p, norm_name, rank, addresses, layer, x, residual, y, strength, n_rows, scratch):
        norm_at: T.let = in_layer(addresses, layer, f"{norm_name}.weight")
        norm_bias_at: T.let = in_layer(addresses, layer, f"{norm_name}.bias")
        w_at: T.let = in_layer(addresses, layer, f"{name}.{weight_name}")
        w_scale_at: T.let = in_layer(addresses, layer, f"{name}.{scale_name}")
        bias_at: T.let = in_layer(addresses, layer, f"{name}.bias.packed")
        a_at: T.let = in_layer(addresses, layer, f"{name}.lora_a.words")
        a_scale_at: T.let = in_layer(addresses, layer, f"{name}.lora_a.scales")
        b_at: T.let = in_layer(addresses, layer, f"{name}.lora_b.words")
        b_scale_at: T.let = in_layer(addresses, layer, f"{name}.lora_b.scales")
        rank_blocks: T.let = addresses[n_parameters + rank]
        norm = T.decl_buffer((p.k,), "float32", data=norm_at)
        norm_bias = T.decl_buffer((p.k,), "float32", data=norm_bias_at)
        w = T.decl_buffer(p.weight_shape(), p.weight.dtype, data=w_at)
        w_scale = T.decl_buffer(p.scale_shape(), p.scale_dtype, data=w_scale_at)
        bias = T.decl_buffer((p.n,), "float32", data=bias_at)
        a = T.decl_buffer(p.a_shape(rank_blocks), p.a_dtype, data=a_at)
        a_scale = T.decl_buffer(p.a_scale_shape(rank_blocks), p.adapter_scale_dtype, data=a_scale_at)
        b = T.decl_buffer(p.b_shape(rank_blocks), p.b_dtype, data=b_at)
        b_scale = T.decl_buffer(p.b_scale_shape(rank_blocks), p.adapter_scale_dtype, data=b_scale_at)
        words = T.decl_buffer(p.words_shape(n_rows), activation, data=scratch[0].data)
        scales = T.decl_buffer((n_rows, p.n_groups), "float32", data=scratch[scale_scratch].data)
        sums = T.decl_buffer((n_rows, p.n_groups), "int32", data=scratch[sum_scratch].data)
        project[name](
            x, T.int64(0), norm, norm_bias, w, w_scale, a, a_scale, b, b_scale, rank_blocks, strength, bias, residual, y,
            n_rows, words, scales, sums, scratch[3], scratch[4], scratch[5]
        )  # fmt: skip

    @T.macro
    def attend_layer(addresses, layer, qkv_rows, cos, sin, positions, table, keys, values, q, mixed, n_rows):
        q_norm_at: T.let = in_layer(addresses, layer, f"{names.q_norm}.weight")
        k_norm_at: T.let = in_layer(addresses, layer, f"{names.k_norm}.weight")
        q_norm = T.decl_buffer((c.head_dim,), "float32", data=q_norm_at)
        k_norm = T.decl_buffer((c.head_dim,), "float32", data=k_norm_at)
        attend(qkv_rows, q_norm, k_norm, cos, sin, positions, table, keys, values, layer, q, mixed, n_rows)

    @T.prim_func(private=True, s_tir=True)
    def forward(
        ids_handle: T.handle,
        positions_handle: T.handle,
        table_handle: T.handle,
        keys_handle: T.handle,
        values_handle: T.handle,
        cos_handle: T.handle,
        sin_handle: T.handle,
        strength: T.Buffer((1,), "float32"),
        addresses: T.Buffer((plan.n_addresses,), "int64"),
        logits_handle: T.handle,
        greedy_handle: T.handle,
        normalizer_handle: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        n_rows, n_table, n_pages, n_positions, n_logits = T.int64(), T.int64(), T.int64(), T.int64(), T.int64()
        ids = T.match_buffer(ids_handle, (n_rows,), "int32")
        positions = T.match_buffer(positions_handle, (n_rows,), "int32")
        table = T.match_buffer(table_handle, (n_table,), "int32")
        keys = T.match_buffer(keys_handle, keys_shape(n_pages)[0], plan.kv_dtype)
        values = T.match_buffer(values_handle, values_shape(n_pages)[1], plan.kv_dtype)
        cos = T.match_buffer(cos_handle, (n_positions, c.head_dim // 2), "float32")
        sin = T.match_buffer(sin_handle, (n_positions, c.head_dim // 2), "float32")
        logits = T.match_buffer(logits_handle, (n_logits, head.n), "float32")
        greedy = T.match_buffer(greedy_handle, (n_logits,), "int32")
        normalizer = T.match_buffer(normalizer_handle, (n_logits,), "float32")
        with T.sblock("root"):
            T.reads()
            T.writes()
            hidden = T.sblock_alloc_buffer((n_rows, c.hidden_size), "float32")
            mixed = T.sblock_alloc_buffer((n_rows, o.k), "float32")
            q = T.sblock_alloc_buffer((n_rows, o.k), "float32")
            qkv_rows = T.sblock_alloc_buffer((n_rows, qkv.n), "float32")
            up_rows = T.sblock_alloc_buffer((n_rows, up.n), "float32")
            words = T.sblock_alloc_buffer((n_rows, widest_groups, plan.weight.activation_words), activation)
            scales = T.sblock_alloc_buffer((n_rows, widest_groups), "float32")
            sums = T.sblock_alloc_buffer((n_rows, widest_groups), "int32")
            t = T.sblock_alloc_buffer((n_rows, rank_groups, t_words), qkv.b.activation_dtype)
            t_scale = T.sblock_alloc_buffer((n_rows, rank_groups), "float32")
            t_sum = T.sblock_alloc_buffer((n_rows, rank_groups), "int32")
            peaks = T.sblock_alloc_buffer((n_logits, chunks), "float32")
            masses = T.sblock_alloc_buffer((n_logits, chunks), "float32")
            embed_at: T.let = pointer(addresses, embed_index)
            embed_scale_at: T.let = pointer(addresses, embed_scale_index)
            embed_words = T.decl_buffer(head.weight_shape(), plan.weight.dtype, data=embed_at)
            embed_scales = T.decl_buffer(head.scale_shape(), head.scale_dtype, data=embed_scale_at)
            for m in T.serial(n_rows):
                embed(ids, embed_words, embed_scales, hidden, m)
            if c.learned_positions > 0:
                position_at: T.let = pointer(addresses, position_index)
                position_scale_at: T.let = pointer(addresses, position_scale_index)
                position_words = T.decl_buffer(position_table.weight_shape(), plan.weight.dtype, data=position_at)
                position_scales = T.decl_buffer(
                    position_table.scale_shape(), position_table.scale_dtype, data=position_scale_at
                )
                for m in T.serial(n_rows):
                    add_position(positions, position_words, position_scales, hidden, m)
            scratch = (words, scales, sums, t, t_scale, t_sum)
            for layer in T.serial(c.n_layers):
                project_layer(
                    qkv_name, qkv, names.attention_norm, 0,
                    addresses, layer, hidden, hidden, qkv_rows, strength, n_rows, scratch
                )  # fmt: skip
                attend_layer(addresses, layer, qkv_rows, cos, sin, positions, table, keys, values, q, mixed, n_rows)
                project_layer(
                    o_name, o, "", 1, addresses, layer, mixed, hidden, hidden, strength, n_rows, scratch
                )  # fmt: skip
                project_layer(
                    up_name, up, names.mlp_norm, 2,
                    addresses, layer, hidden, hidden, up_rows, strength, n_rows, scratch
                )  # fmt: skip
                project_layer(
                    down_name, down, "", 3, addresses, layer, up_rows, hidden, hidden, strength, n_rows, scratch
                )  # fmt: skip
            norm_at: T.let = pointer(addresses, norm_index)
            norm_bias_at: T.let = pointer(addresses, norm_bias_index)
            head_at: T.let = pointer(addresses, head_index)
            head_scale_at: T.let = pointer(addresses, head_scale_index)
            norm = T.decl_buffer((c.hidden_size,), "float32", data=norm_at)
            norm_bias = T.decl_buffer((c.hidden_size,), "float32", data=norm_bias_at)
            head_words = T.decl_buffer(head.weight_shape(), plan.weight.dtype, data=head_at)
            head_scales = T.decl_buffer(head.scale_shape(), head.scale_dtype, data=head_scale_at)
            quantized = T.decl_buffer(head.words_shape(n_logits), activation, data=words.data)
            quantized_scales = T.decl_buffer((n_logits, head.n_groups), "float32", data=scratch[scale_scratch].data)
            quantized_sums = T.decl_buffer((n_logits, head.n_groups), "int32", data=scratch[sum_scratch].data)
            project_head(
                hidden, n_rows - n_logits, norm, norm_bias, head_words, head_scales, strength, strength, strength, strength,
                T.int64(0), strength, strength, hidden, logits, n_logits,
                quantized, quantized_scales, quantized_sums, t, t_scale, t_sum
            )  # fmt: skip
            summary(logits, greedy, normalizer, peaks, masses, n_logits)

    return forward
