"""The servers that are known: which of their counters are which outcome.

Names, labels and when a counter counts are those of the sources that ``facts`` names; what was not
read there is not assumed. Where a version lacks the better counter, the next choice is taken.
"""

from __future__ import annotations

from .rules import CACHED_INCLUDED, Choice, Rule, Server, Term, only, without

FAILED = ("abort", "error", "cancelled", "timeout")
"""Reasons for which a request ended without what was asked for."""


def _counter(kind: str, *terms: Term) -> Rule:
    return Rule(kind, tuple(map(Choice, terms)))


VLLM = Server(
    name="vllm",
    title="vLLM",
    prefixes=("vllm:", "vllm_", "ray_vllm_", "ray_vllm:"),
    model=("model_name", "model"),
    tells_start=True,
    tested="recorded",
    facts="vllm-project/vllm, vllm/v1/metrics/{loggers,stats,ray_wrappers}.py",
    rules=(
        Rule(
            "token_in",
            (
                Choice(Term("prompt_tokens_by_source_total", (only("source", "local_compute"),))),
                Choice(Term("prompt_tokens_total"), Term("prompt_tokens_cached_total")),
                Choice(Term("prompt_tokens_total"), caveat=CACHED_INCLUDED),
            ),
        ),
        _counter("token_in_cached", Term("prompt_tokens_cached_total")),
        _counter("token_out", Term("generation_tokens_total")),
        _counter("request", Term("request_success_total", (without("finished_reason", *FAILED),))),
    ),
    notes=(
        "Prompt tokens include what came from a cache, local or of another instance.",
        "`engine` is a data-parallel engine: engines are added up. Tensor and pipeline ranks do "
        "not count.",
        "Where prefill and decode are apart, what came over the wire is no computed token; but no "
        "label tells the two, so the prefilling instance counts each request, and its one token, "
        "as well.",
        "`prefix_cache_hits` is not used: versions count a request anew at each attempt to "
        "schedule it.",
        "Behind Ray the names are `ray_vllm_*`, and a counter may be there a second time as a "
        "gauge without `_total`.",
    ),
)

PREFILLS, DECODES = without("engine_type", "decode"), without("engine_type", "prefill")
SGLANG_PROMPT = Term("prompt_tokens_total", (PREFILLS,), over=("is_streaming",))
SGLANG = Server(
    name="sglang",
    title="SGLang",
    prefixes=("sglang:", "sglang_", "ray_sglang_"),
    model=("model_name",),
    ranks=("tp_rank", "pp_rank", "moe_ep_rank"),
    replicas=("dp_rank",),
    tested="recorded",
    facts="sgl-project/sglang, srt/observability/metrics_collector.py",
    rules=(
        Rule(
            "token_in",
            (
                Choice(
                    SGLANG_PROMPT,
                    Term(
                        "cached_tokens_total",
                        (PREFILLS,),
                        over=("is_streaming", "cache_source"),
                        zero_beside="num_requests_total",
                    ),
                ),
                Choice(SGLANG_PROMPT, caveat=CACHED_INCLUDED),
            ),
        ),
        _counter("token_in_cached", Term("cached_tokens_total", (PREFILLS,))),
        _counter("token_out", Term("generation_tokens_total", (DECODES,))),
        _counter(
            "request",
            Term("num_requests_total", (DECODES,)),
            Term("e2e_request_latency_seconds", (DECODES,), part="count"),
        ),
    ),
    notes=(
        "Tokens are counted when a request ends.",
        "Each `tp_rank`, `pp_rank` and `moe_ep_rank` repeats the same tokens: rank 0 counts. "
        "`dp_rank` is another engine: engines are added up, of each the lowest rank counts.",
        "Where prefill and decode are apart, prompts are counted where they are prefilled, tokens "
        "and requests where they are decoded (`engine_type`).",
        "`cache_source` divides cached tokens; `total` is what a request says that does not "
        "divide them. The counter is not there before the first hit.",
    ),
)

TGI = Server(
    name="tgi",
    title="Text Generation Inference",
    prefixes=("tgi_",),
    model=("model_id", "model_name"),
    facts="huggingface/text-generation-inference, docs/source/reference/metrics.md",
    rules=(
        Rule(
            "token_in", (Choice(Term("request_input_length", part="sum"), caveat=CACHED_INCLUDED),)
        ),
        _counter("token_out", Term("request_generated_tokens", part="sum")),
        _counter("request", Term("request_success")),
    ),
    notes=(
        "Both are sums of histograms to which a request is added at once, generated tokens when "
        "it ends: they come in bursts. What came between two readings is spread evenly over the "
        "time between them, so look at windows much longer than a request.",
    ),
)

TRITON = Server(
    name="triton",
    title="Triton",
    prefixes=("nv_",),
    model=("model",),
    tested="recorded",
    facts="triton-inference-server/server, docs/user_guide/metrics.md",
    rules=(
        _counter("inference", Term("inference_count")),
        _counter("request", Term("inference_request_success")),
    ),
    notes=(
        "`nv_inference_count` counts the items of batches, requests are counted once each; what "
        "the response cache answers is a request and no inference.",
        "An ensemble counts, and each of its models as well: compare by model.",
        "The vLLM backend's `vllm:*` on the same page are read by vLLM's rules.",
    ),
)

LLAMA_CPP = Server(
    name="llamacpp",
    title="llama.cpp",
    prefixes=("llamacpp:", "llamacpp_", "llama_"),
    model=("model", "model_name"),
    facts="ggml-org/llama.cpp, tools/server/README.md; issue 17384",
    rules=(
        _counter("token_in", Term("prompt_tokens_total")),
        _counter("token_in_cached", Term("prompt_tokens_cached_total")),
        _counter("token_out", Term("tokens_predicted_total")),
    ),
    notes=(
        "Prompt tokens are those that were processed; what the cache held is not among them.",
        "Only with `--metrics`. A body that is one quoted text is unpacked.",
        "It counts no requests.",
    ),
)

TENSORRT_LLM = Server(
    name="trtllm",
    title="TensorRT-LLM",
    prefixes=("trtllm_", "trtllm:"),
    model=("model_name",),
    facts="NVIDIA/TensorRT-LLM, tensorrt_llm/metrics/collector.py",
    rules=(
        Rule(
            "token_in",
            (
                Choice(Term("prompt_tokens_total"), Term("prompt_cached_tokens_total")),
                Choice(Term("prompt_tokens_total"), caveat=CACHED_INCLUDED),
            ),
        ),
        _counter("token_in_cached", Term("prompt_cached_tokens_total")),
        _counter("token_out", Term("generation_tokens_total")),
        _counter("request", Term("request_success_total", (without("finished_reason", *FAILED),))),
    ),
    notes=(
        "The page is `/prometheus/metrics`; `/metrics` answers with JSON.",
        "Tokens are counted when a request ends.",
    ),
)

DYNAMO = Server(
    name="dynamo",
    title="Dynamo's frontend",
    prefixes=("dynamo_frontend_",),
    model=("model",),
    auto=False,
    facts="ai-dynamo/dynamo, docs/observability/metrics.md",
    rules=(
        Rule(
            "token_in",
            (
                Choice(
                    Term("input_sequence_tokens", part="sum"), Term("cached_tokens", part="sum")
                ),
                Choice(Term("input_sequence_tokens", part="sum"), caveat=CACHED_INCLUDED),
            ),
        ),
        _counter("token_in_cached", Term("cached_tokens", part="sum")),
        _counter(
            "token_out", Term("output_tokens_total"), Term("output_sequence_tokens", part="sum")
        ),
        _counter("request", Term("requests_total", (only("status", "success"),))),
    ),
    notes=(
        "Its workers pass the counters of their engines through, and those are read by "
        "themselves: the frontend counts the same tokens again and holds no GPU. It is read only "
        "where a job names it; do not read its workers then.",
    ),
)

RAY_SERVE = Server(
    name="ray_serve",
    title="Ray Serve",
    prefixes=("ray_serve_", "serve_"),
    model=("deployment",),
    auto=False,
    facts="ray-project/ray, serve/_private/replica.py; doc/source/serve/monitoring.md",
    rules=(_counter("request", Term("deployment_request_counter")),),
    notes=(
        "Each deployment that a request passes through counts it, so it is read only where a job "
        "names it; engines behind it (`ray_vllm_*`) are recognised by themselves.",
        "Counters were gauges before Ray 2.10, and may be there both ways: the one with `_total` "
        "counts. Each worker process is a counter of its own.",
    ),
)

SERVERS = (VLLM, SGLANG, TGI, TRITON, LLAMA_CPP, TENSORRT_LLM, DYNAMO, RAY_SERVE)
BY_NAME = {server.name: server for server in SERVERS}
AUTO, OFF = "auto", "none"
CHOICES = (AUTO, OFF, *BY_NAME)
