import { loadStickers, makeCanvas, canvasClasses } from './examples/studies/tasks/canvases.js';
import { Judge, nothing } from './examples/studies/tasks/judge.js';
const [training, held] = [await loadStickers({heldOut:false}), await loadStickers({heldOut:true})];
const t0=performance.now();
const judge=await Judge.train({stickers:training, steps: Number(process.argv[2]??300), seed:0});
console.log('train s',(performance.now()-t0)/1000);
for (const [name,set] of [['train',training],['held',held]] as const){
  let right=0,total=0; const conf:Record<string,number>={};
  for(let i=0;i<200;i++){const c=makeCanvas(set,i,{seed:77});const got=await judge.classify({data:c.pixels,width:64,height:64,channels:3},c.boxes);
   c.boxes.forEach((b,k)=>{total++; if(got[k]===b.label)right++; else {const key=`${canvasClasses[b.label]}>${got[k]===nothing?'nothing':canvasClasses[got[k]]}`;conf[key]=(conf[key]??0)+1}})}
  console.log(name,right/total,total,JSON.stringify(conf));
}
