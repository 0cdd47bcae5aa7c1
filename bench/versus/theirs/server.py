"""PyTorch's side of the comparison: prepares and runs what it is told, one JSON object a line."""
import itertools
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F

import networks

channels_last = torch.channels_last
device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
low = getattr(torch, sys.argv[3] if len(sys.argv) > 3 else "float32")
on_gpu = device != "cpu"
torch.set_default_device(device)


def randn(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(low).to(dtype)


def prepare_gemm(a, dtype):
    m, n, k = a["m"], a["n"], a["k"]
    x = randn(k, m, dtype=dtype).T if a["transposeA"] else randn(m, k, dtype=dtype)
    y = randn(n, k, dtype=dtype).T if a["transposeB"] else randn(k, n, dtype=dtype)
    return lambda: x @ y


def prepare_linear(a, dtype):
    x, w, b = randn(a["m"], a["c"], dtype=dtype), randn(a["k"], a["c"], dtype=dtype), randn(a["k"], dtype=dtype)
    return passes(a["pass"], lambda x, w, b: F.linear(x, w, b), x=x, w=w, b=b)


def prepare_conv(a, dtype):
    x = randn(a["n"], a["h"], a["w"], a["c"], dtype=dtype).permute(0, 3, 1, 2)
    w = randn(a["k"], a["r"], a["r"], a["c"], dtype=dtype).permute(0, 3, 1, 2)
    b = randn(a["k"], dtype=dtype)
    return passes(a["pass"], lambda x, w, b: F.conv2d(x, w, b, a["stride"], a["r"] // 2), x=x, w=w, b=b)


def prepare_attention(a, dtype):
    n, h, d = a["n"], a["heads"], a["d"]
    q, k, v = (randn(n, length, h, d, dtype=dtype).transpose(1, 2).contiguous() for length in (a["t"], a["s"], a["s"]))
    return passes(a["pass"], lambda q, k, v: F.scaled_dot_product_attention(q, k, v), q=q, k=k, v=v)


def prepare_groupNorm(a, dtype):
    c = a["c"]
    x = randn(a["n"], a["h"], a["w"], c, dtype=dtype).permute(0, 3, 1, 2)
    w, b = randn(c, dtype=dtype), randn(c, dtype=dtype)
    return passes(a["pass"], lambda x, w, b: F.silu(F.group_norm(x, 32, w, b)), x=x, w=w, b=b)


def prepare_layerNorm(a, dtype):
    x, w, b = randn(a["m"], a["c"], dtype=dtype), randn(a["c"], dtype=dtype), randn(a["c"], dtype=dtype)
    return passes(a["pass"], lambda x, w, b: F.layer_norm(x, (a["c"],), w, b), x=x, w=w, b=b)


def prepare_softmax(a, dtype):
    return passes(a["pass"], lambda x: F.softmax(x, -1), x=randn(a["m"], a["c"], dtype=dtype))


def prepare_elementwise(a, dtype):
    x, y = randn(a["count"], dtype=dtype), randn(a["count"], dtype=dtype)
    if a.get("op") == "add":
        return lambda: x + y
    return passes(a["pass"], lambda x: F.silu(x), x=x)


def prepare_tiny(a, dtype):
    x, y = randn(1), randn(1)

    def run():
        for _ in range(a["repeats"]):
            z = x + y
        return z

    return run


def prepare_copy(a, dtype):
    x = randn(a["count"], dtype=dtype)
    y = torch.empty_like(x)
    return lambda: y.copy_(x)


def prepare_adam(a, dtype):
    p = torch.nn.Parameter(torch.randn(int(a["count"])))
    p.grad = torch.randn(int(a["count"]))
    optimizer = torch.optim.AdamW([p], lr=1e-4, fused=True)
    return optimizer.step


def passes(which, forward, **inputs):
    """The op itself, or its gradients for some of the inputs ('input': the first, 'weight': the second)."""
    if which == "forward":
        return lambda: forward(**inputs)
    names = {"input": list(inputs)[:1], "weight": list(inputs)[1:2], "backward": list(inputs)}[which]
    for name in names:
        inputs[name].requires_grad_()
    y = forward(**inputs)
    dy = torch.empty_like(y).copy_(randn(*y.shape))
    return lambda: torch.autograd.grad(y, [inputs[name] for name in names], dy, retain_graph=True)


def lowered(forward):
    """float32 weights, matrix work in the low dtype."""

    def run():
        with torch.autocast(device.split(":")[0], dtype=low, enabled=low != torch.float32):
            return forward()

    return run


def training(model, loss):
    loss = lowered(loss)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def inference(forward):
    def run():
        with torch.no_grad():
            return lowered(forward)()

    return run


def prepare_unet(a, dtype):
    config, n, side = a["unet"], a["n"], a["side"]
    model = torch.nn.ModuleDict({"unet": networks.UNet(config)})
    if "text" in a:
        model["text"] = networks.TextEncoder(a["text"])
    model = model.to(memory_format=channels_last)
    if a.get("compile"):
        model["unet"] = torch.compile(model["unet"])
    x = torch.randn(n, config["inChannels"], side, side).to(memory_format=channels_last)
    noise = torch.randn(n, config["outChannels"], side, side).to(memory_format=channels_last)
    t = torch.full((n,), 500)
    y = torch.zeros(n, dtype=torch.long) if config.get("numClasses") else None
    ids = torch.zeros(n, a["text"]["maxSeqLen"], dtype=torch.long) if "text" in a else None

    def predict():
        return model["unet"](x, t, y, model["text"](ids) if ids is not None else None)

    if a["pass"] == "forward":
        return inference(predict)
    return training(model, lambda: F.mse_loss(predict(), noise))


def prepare_sampling(a, dtype):
    """DDIM with eta 0, as one writes it."""
    n, side, steps = a["n"], a["side"], a["steps"]
    unet = networks.UNet(a["unet"]).to(memory_format=channels_last)
    betas = torch.linspace(1e-4**0.5, 2e-2**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0).tolist()
    times = list(range(1, 1000, 1000 // steps))

    def sample():
        x = torch.randn(n, a["unet"]["inChannels"], side, side).to(memory_format=channels_last)
        for i in reversed(range(steps)):
            now, before = kept[times[i]], kept[times[i - 1]] if i else kept[0]
            noise = unet(x, torch.full((n,), times[i])).float()
            x0 = (x - (1 - now) ** 0.5 * noise) / now**0.5
            x = before**0.5 * x0 + (1 - before) ** 0.5 * noise
        return x

    return inference(sample)


def prepare_autoencoder(a, dtype):
    config, n, side, z = a["ddconfig"], a["n"], a["side"], a["ddconfig"]["zChannels"]
    if a["pass"] == "encode":
        encoder = networks.encoder(config).to(memory_format=channels_last)
        picture = torch.randn(n, 3, side, side).to(memory_format=channels_last)
        return inference(lambda: encoder(picture))
    if a["pass"] == "decode":
        model = networks.decoder(config).to(memory_format=channels_last)
        latent = torch.randn(n, z, side, side).to(memory_format=channels_last)
        return inference(lambda: model(latent))
    model = networks.Autoencoder(config).to(memory_format=channels_last)
    x = torch.randn(n, 3, side, side).to(memory_format=channels_last)
    small = side // 2 ** (len(config["chMult"]) - 1)
    noise = torch.randn(n, z, small, small)

    def loss():
        y, kl = model(x, noise)
        error = y - x
        return error.abs().mean() + error.square().mean() + 1e-6 * kl.mean()

    return training(model, loss)


def prepare(request, dtype=low):
    torch.manual_seed(0)
    return globals()["prepare_" + request["kind"]](request["args"], dtype)


def prepare_sets(request):
    """Its sets, which take turns; the result of each lives until its next one."""
    sets = request.get("sets", 1)
    runs, results, turns = [prepare(request) for _ in range(sets)], [None] * sets, itertools.cycle(range(sets))

    def run():
        i = next(turns)
        results[i] = None
        results[i] = runs[i]()

    return run if sets > 1 else runs[0]


def synchronize():
    if on_gpu:
        torch.cuda.synchronize()


def peak_mib():
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def relative_error(request):
    """The largest of the results' against float64 with the same inputs."""
    results, exact = prepare(request)(), prepare(request, torch.float64)()
    if torch.is_tensor(results):
        results, exact = [results], [exact]
    return max(((y.double() - z).norm() / z.norm()).item() for y, z in zip(results, exact))


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.backends.cudnn.benchmark = True
    version = torch.__version__ + (f" on {torch.cuda.get_device_name()}" if on_gpu else "")
    print(json.dumps({"version": version}), flush=True)
    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            run = None
            run = prepare_sets(request["prepare"])
            synchronize()
            answer = {}
        elif "error" in request:
            answer = {"error": relative_error(request["error"])}
        elif "peak" in request:
            answer = {"mib": peak_mib()}
        else:
            start = time.perf_counter()
            for _ in range(request["run"]):
                run()
            synchronize()
            answer = {"seconds": (time.perf_counter() - start) / request["run"]}
        print(json.dumps(answer), flush=True)


main()
