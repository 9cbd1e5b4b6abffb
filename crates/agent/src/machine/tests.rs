mod bench;
mod crash;
mod journey;
mod look;
mod refuse;
mod run;
