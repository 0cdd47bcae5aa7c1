import { openGolden } from '/work/wt/ldm/tests/parity/golden.ts';
import { NoiseSchedule } from '/work/wt/ldm/lib/ldm/diffusion/schedule.ts';
import { ddimSchedule, ddimTimesteps } from '/work/wt/ldm/lib/ldm/samplers/ddim_schedule.ts';
const cfg=(a:any)=>({betaSchedule:a.beta_schedule,timesteps:a.timesteps,linearStart:a.linear_start,linearEnd:a.linear_end,cosineS:a.cosine_s,vPosterior:a.v_posterior});
const f=await openGolden('/work/shared/golden/diffusion/schedules.safetensors');
let worst=0,ulps=0;
const ulp=(x:number)=>{x=Math.abs(x);const e=Math.max(Math.floor(Math.log2(x||1e-45)),-126);return 2**(e-23)};
for(const c of f.cases){const s=new NoiseSchedule(cfg(c.args));const t:any={...s.buffers(),lvlb_weights_eps:s.lvlbWeights.eps,lvlb_weights_x0:s.lvlbWeights.x0,betas_f64:s.exact.betas,alphas_cumprod_f64:s.exact.alphasCumprod};
for(const n of c.names){const e=await c.values(n);const a=t[n.slice(4)];let m=0,k=0;for(let i=0;i<e.data.length;i++){const d=Math.abs(a[i]-e.data[i]);if(d>0){m=Math.max(m,n.endsWith('f64')?d/Math.abs(e.data[i]):d/ulp(e.data[i]));k++}}if(m>(n.endsWith('f64')?1e-12:1))console.log(c.id,n,m,k)}}
const g=await openGolden('/work/shared/golden/diffusion/ddim_params.safetensors');
for(const c of g.cases){const a:any=c.args;const ts=ddimTimesteps(a.discretize,a.steps,a.timesteps);const e=await c.values('out.timesteps');if(ts.join()!==Array.from(e.data).join())console.log('TS',c.id,ts.slice(0,10),e.data.slice(0,10));
if(c.has('out.alphas')){const d:any=ddimSchedule(new NoiseSchedule(cfg(a)),{steps:a.steps,eta:a.eta,discretize:a.discretize});for(const [k,n] of [['alphas','alphas'],['alphasPrev','alphas_prev'],['sigmas','sigmas'],['sqrtOneMinusAlphas','sqrt_one_minus_alphas']]){const e=await c.values('out.'+n);let m=0;for(let i=0;i<e.data.length;i++)m=Math.max(m,Math.abs(d[k][i]-e.data[i])/(Math.abs(e.data[i])||1));if(m>1e-6)console.log(c.id,n,m)}}}
console.log('done')
