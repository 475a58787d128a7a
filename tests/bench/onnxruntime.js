// Times onnxruntime-node on one model: the peer of `legonet bench`, with the same input and the same figures.
// usage: node onnxruntime.js NODE_MODULES MODEL THREADS RUNS [NAME=1,2,3 | NAME:=NUMBER ...]
'use strict';
const fs = require('fs');
const [modules, model, threads, runs, ...inputs] = process.argv.slice(2);
const ort = require(modules + '/onnxruntime-node');

function peakRssBytes() {
    return 1024 * Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]);
}

async function main() {
    const bare = peakRssBytes();
    const start = process.hrtime.bigint();
    const session = await ort.InferenceSession.create(model, {
        intraOpNumThreads: Number(threads),
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
    });
    const loaded = process.hrtime.bigint();
    const feeds = {};
    for (const input of session.inputMetadata) {
        const find = (sign) => inputs.filter((text) => text.startsWith(input.name + sign)).map((text) => text.slice(input.name.length + sign.length));
        const [shape] = find('='), [value] = find(':=');
        const dims = shape ? shape.split(',').map(Number) : input.shape.map((d) => (typeof d === 'number' && d > 0 ? d : 1));
        const count = dims.reduce((a, b) => a * b, 1);
        const data = input.type === 'int64' ? new BigInt64Array(count).fill(BigInt(value || 0)) : new Float32Array(count);
        for (let i = 0; input.type !== 'int64' && i < count; i++) data[i] = Math.sin(i);
        feeds[input.name] = new ort.Tensor(input.type, data, dims);
    }
    const first = process.hrtime.bigint();
    await session.run(feeds);
    const times = [];
    const firstUs = Number(process.hrtime.bigint() - first) / 1e3;
    for (let i = 0; i < Number(runs); i++) {
        const begin = process.hrtime.bigint();
        await session.run(feeds);
        times.push(Number(process.hrtime.bigint() - begin) / 1e3);
    }
    times.sort((a, b) => a - b);
    console.log(JSON.stringify({
        load_us: Number(loaded - start) / 1e3,
        first_us: firstUs,
        median_us: times[times.length >> 1],
        min_us: times[0],
        peak_rss_bytes: peakRssBytes(),
        bare_rss_bytes: bare,
    }));
}
main();
