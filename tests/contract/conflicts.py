"""Every known conflict of diffusers' levers, and what in this program takes care of it.

The keys are the rows of the conflict table the levers were built from, with what happens there.
A value says who answers for it:

- ``rule ID ...``: rows of ``autotune/levers/rules.py``, each of which cites ``Bn``;
- ``unavailable LEVER=CHOICE ...``: the choice is not offered where it would happen;
- ``engagement LEVER=CHOICE ...``: the trial is ``not_applied``, because the evidence is missing;
- ``construction TEST``: what is built cannot have it; the test of that name shows so;
- ``outside WHY``: nothing this program can choose leads there.
"""

from __future__ import annotations

CONFLICTS: dict[int, tuple[str, str]] = {
    # ------------------------------------------------------------- B1: placement with placement
    1: (
        "group offload beside model or sequential offload",
        "construction test_a_pipeline_that_is_offloaded_in_another_way_is_refused",
    ),
    2: ("a device map and any placement", "outside no choice spreads a pipeline over devices"),
    3: ("parallel denoisers and any offload", "outside no choice uses more than one device"),
    4: (
        "sequential offload, then a move to the device",
        "construction test_offload_alone_places_the_pipeline_and_never_moves_it_first",
    ),
    5: (
        "a move to the device, then offload",
        "construction test_offload_alone_places_the_pipeline_and_never_moves_it_first",
    ),
    6: (
        "group offload twice",
        "construction test_a_pipeline_that_is_offloaded_in_another_way_is_refused",
    ),
    7: (
        "a move of a model of which a part is offloaded",
        "construction test_a_share_is_moved_piece_by_piece",
    ),
    8: ("model offload without an order of components", "unavailable offload=model"),
    9: (
        "a component both in the order of model offload and excluded from it",
        "outside no lever writes to either list of a pipeline",
    ),
    10: (
        "model and sequential offload without an accelerator",
        "unavailable offload=model offload=sequential",
    ),
    11: ("the automatic offload of modular pipelines", "outside no choice makes such a pipeline"),
    12: (
        "a stream where the device is the host",
        "unavailable offload=group-block-stream offload=group-leaf-stream",
    ),
    13: (
        "a record of a stream that is not there",
        "construction test_what_depends_on_a_stream_has_one_and_takes_single_blocks",
    ),
    14: (
        "a stream and groups of several blocks",
        "construction test_what_depends_on_a_stream_has_one_and_takes_single_blocks",
    ),
    15: (
        "a folder with the weights of an earlier trial",
        "construction test_every_trial_has_a_folder_of_its_own_which_goes_with_it",
    ),
    16: (
        "text encoders offloaded to the disk by layer",
        "construction test_only_the_denoiser_goes_to_the_disk",
    ),
    17: ("the disk and packed weights", "rule disk-quantized"),
    18: (
        "a stream on a VAE whose path changes",
        "construction test_the_vae_stays_on_the_device_while_others_stream",
    ),
    19: (
        "a record of the stream on a text encoder",
        "construction test_the_stream_of_a_text_encoder_is_not_recorded",
    ),
    20: ("UniPC and offload", "outside diffusers 0.42, the oldest we take, has the fix (#13489)"),
    21: ("parts that fail layer by layer", "unavailable offload=sequential"),
    # --------------------------------------------------------- B2: quantization with everything
    22: ("a cast of what is quantized", "rule vae-dtype-quantized"),
    23: (
        "8-bit bitsandbytes of an old version and a move",
        "construction test_a_package_that_is_missing_or_too_old_is_named",
    ),
    24: (
        "4-bit bitsandbytes of an old version and a move",
        "construction test_a_package_that_is_missing_or_too_old_is_named",
    ),
    25: (
        "bitsandbytes and sequential offload",
        "rule quantize-denoiser-sequential quantize-text-encoder-sequential "
        "quantize-other-encoders-sequential quantize-vae-sequential",
    ),
    26: (
        "quanto and sequential offload",
        "rule quantize-denoiser-sequential quantize-text-encoder-sequential "
        "quantize-other-encoders-sequential quantize-vae-sequential",
    ),
    27: ("GGUF and sequential offload", "rule gguf-sequential"),
    28: (
        "quanto and group offload on a GPU",
        "rule quantize-denoiser-quanto-groups quantize-text-encoder-quanto-groups "
        "quantize-other-encoders-quanto-groups",
    ),
    29: (
        "torchao and group offload without a stream",
        "outside diffusers 0.42, the oldest we take, has the fix (#13276)",
    ),
    30: (
        "torchao and group offload with a stream",
        "rule quantize-denoiser-torchao-stream quantize-text-encoder-torchao-stream "
        "quantize-other-encoders-torchao-stream",
    ),
    31: (
        "torchao and sequential offload",
        "rule quantize-denoiser-sequential quantize-text-encoder-sequential "
        "quantize-other-encoders-sequential quantize-vae-sequential",
    ),
    32: (
        "torchao, model offload and compile",
        "rule quantize-denoiser-torchao-moves-compiled quantize-vae-torchao-moves-compiled",
    ),
    33: ("fused projections of quantized weights", "rule fuse-quantized fuse-fp8"),
    34: ("layerwise casting and quanto", "rule layerwise-quantized"),
    35: (
        "layerwise casting and other quantizers",
        "rule layerwise-quantized layerwise-torchao",
    ),
    36: (
        "quantized weights and another format to compute in",
        "construction test_it_computes_in_the_format_that_the_candidate_loads_in",
    ),
    37: (
        "bitsandbytes with its own defaults",
        "construction test_it_computes_in_the_format_that_the_candidate_loads_in",
    ),
    38: (
        "Linears whose widths do not divide",
        "construction test_linears_that_were_left_alone_are_counted "
        "test_where_no_linear_would_be_converted_the_reason_says_so",
    ),
    39: (
        "packings of torchao's 4 bits that no package can make",
        "construction test_what_only_a_gpu_can_be_asked_for_exists_in_the_libraries",
    ),
    40: ("Nunchaku Lite on a Hopper card", "unavailable checkpoint=svdquant"),
    41: (
        "8-bit floating-point products on old cards",
        "unavailable quantize-denoiser=torchao-fp8dq quantize-denoiser=torchao-fp8dq-tensor",
    ),
    42: (
        "one backend for the components of both libraries",
        "construction test_each_component_is_asked_for_in_the_words_of_its_library",
    ),
    43: ("8 bits and LoRA weights", "outside no choice loads weights of a LoRA"),
    44: (
        "a trace of a quantized denoiser",
        "construction test_a_traced_unet_computes_with_its_quantized_weights",
    ),
    45: (
        "quantizing on the device, beside the full weights",
        "construction test_components_are_quantized_on_the_host",
    ),
    # --------------------------------------------------------------- B3: compile with everything
    46: (
        "group offload and one whole graph",
        "construction test_no_choice_asks_for_one_graph_or_for_fixed_sizes",
    ),
    47: (
        "compiled first, then group offload",
        "construction test_compiling_comes_after_everything_that_changes_what_is_compiled",
    ),
    48: (
        "offload and dynamo's default limits",
        "construction test_hooks_raise_the_limits_of_dynamo",
    ),
    49: (
        "model offload and compile",
        "outside both work together in either order, here offload comes first",
    ),
    50: (
        "bitsandbytes int8 and one whole graph",
        "construction test_int8_of_bitsandbytes_lets_shapes_depend_on_data",
    ),
    51: (
        "CUDA graphs and regional compile",
        "construction test_no_regional_choice_records_cuda_graphs",
    ),
    52: ("CUDA graphs and model offload", "rule graphs-need-fixed-weights"),
    53: ("CUDA graphs and a change of LoRA", "outside no lever loads or changes a LoRA"),
    54: ("CUDA graphs and first-block cache", "rule graphs-need-fixed-flow"),
    55: ("CUDA graphs and changing sizes", "outside all generations of a study have one size"),
    56: (
        "layerwise casting and compile",
        "outside it works with graph breaks, a trial measures what is left",
    ),
    57: (
        "a cache and one whole graph",
        "construction test_no_choice_asks_for_one_graph_or_for_fixed_sizes",
    ),
    58: ("first-block cache and compile", "outside both work together, a trial measures them"),
    59: ("MagCache and regional compile", "rule magcache-hides-blocks"),
    60: (
        "MagCache after a compile",
        "construction test_compiling_comes_after_everything_that_changes_what_is_compiled",
    ),
    61: (
        "other caches and compile",
        "outside they work with graph breaks, a trial measures what is left",
    ),
    62: ("regional compile without repeated blocks", "unavailable compile=regional"),
    63: (
        "fixed sizes and one whole graph",
        "construction test_no_choice_asks_for_one_graph_or_for_fixed_sizes",
    ),
    64: (
        "regional compile for any size of concatenated streams",
        "rule dynamic-concatenated-streams",
    ),
    65: (
        "an attention backend after a compile",
        "construction test_compiling_comes_after_everything_that_changes_what_is_compiled",
    ),
    66: (
        "fused projections after a compile",
        "construction test_compiling_comes_after_everything_that_changes_what_is_compiled",
    ),
    67: (
        "kernels that break the graph and one whole graph",
        "construction test_no_choice_asks_for_one_graph_or_for_fixed_sizes",
    ),
    68: (
        "a compiled VAE instead of its decoder",
        "construction test_only_the_decoder_is_compiled_because_a_whole_vae_is_never_called",
    ),
    71: ("WanAnimate and compile", "unavailable compile=regional compile=full"),
    72: (
        "regional, then the whole",
        "construction test_a_compile_of_the_whole_is_not_taken_for_regional",
    ),
    73: (
        "inductor's settings that torchao leaves behind",
        "outside every trial is a process of its own",
    ),
    74: ("a LoRA and compile", "outside no lever loads or changes a LoRA"),
    69: (
        "quanto's 4 bits and compile",
        "rule quantize-denoiser-quanto-int4-compiled quantize-vae-quanto-int4-compiled",
    ),
    70: ("GGUF and compile", "outside it works with every torch that we take (2.10 on)"),
    # ------------------------------------------------------------ B4: attention, cache, structure
    75: ("a backend on a denoiser that ignores it", "unavailable attention=native-flash"),
    76: ("padded prompts and a backend without masks", "rule masked-flash"),
    77: ("sage on Qwen and Wan", "rule sage-on-qwen-wan"),
    78: ("fp32 and a half-precision kernel", "rule gpu-kernels-need-half"),
    79: ("a hub kernel without network or trust", "unavailable attention=flash-hub"),
    80: ("attention slicing and a backend", "rule slicing-replaces-attention"),
    81: (
        "what does nothing on this model or workload",
        "unavailable attention-slicing=max channels-last=denoiser vae-slicing=on vae-tiling=half",
    ),
    82: (
        "first-block and TaylorSeer where no cache context is opened",
        "unavailable cache=first-block-8 cache=taylorseer-3",
    ),
    83: (
        "first-block and MagCache on blocks that are not registered",
        "unavailable cache=first-block-8 cache=magcache-6",
    ),
    84: (
        "TaylorSeer's own patterns on attention called attn1 and attn2",
        "construction test_taylorseer_finds_attention_that_its_own_patterns_miss",
    ),
    85: ("first-block on Flux.2", "rule flux2-first-block"),
    86: (
        "two caches on one model",
        "construction test_a_second_cache_takes_the_place_of_the_first",
    ),
    87: ("a cache and few steps", "unavailable cache=first-block-8 cache=magcache-6"),
    88: (
        "MagCache ratios of another schedule",
        "construction test_the_ratios_of_magcache_are_those_of_the_workloads_steps",
    ),
    89: (
        "a cache and group offload",
        "construction test_a_cache_and_group_offload_work_together",
    ),
    97: (
        "no text encoders in the pipeline",
        "construction test_precomputed_prompts_make_the_same_picture_without_encoders",
    ),
    90: (
        "a trace and hooks",
        "rule trace-freezes-offload trace-freezes-cache trace-freezes-casting",
    ),
    91: ("a traced transformer without its cache context", "unavailable compile=jit-trace"),
    92: (
        "context parallelism and a backend that cannot",
        "outside no lever spreads one model over several cards",
    ),
    93: (
        "layerwise casting and a later cast",
        "construction test_the_weights_stay_in_8_bits_when_the_pipeline_is_placed_and_runs",
    ),
    94: (
        "layerwise casting of T5",
        "construction test_layerwise_casting_leaves_text_encoders_and_the_vae_alone",
    ),
    95: (
        "tiles and a strict judgement of pictures",
        "construction test_tiles_are_left_out_where_no_pixel_may_change",
    ),
    96: (
        "a pipeline made from another one without a format",
        "outside every pipeline is loaded from its own folder, none is made from another",
    ),
}
