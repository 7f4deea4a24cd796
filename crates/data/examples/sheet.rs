//! tmp
fn main() {
    let t = std::time::Instant::now();
    let train = strata_data::draw(20000, 1);
    let test = strata_data::draw(2000, 2);
    println!("draw {:?}", t.elapsed());
    std::fs::write("/tmp/digits_train.bin", &train.pixels).unwrap();
    std::fs::write("/tmp/digits_test.bin", &test.pixels).unwrap();
    let (w, h) = (30, 20);
    let mut out = vec![0u8; w * 28 * h * 28];
    for r in 0..h { for c in 0..w {
        // one digit per two rows
        let k = (r / 2) + 10 * (c + w * (r % 2));
        for y in 0..28 { for x in 0..28 { out[(r * 28 + y) * w * 28 + c * 28 + x] = train.row(k)[y * 28 + x]; } }
    } }
    image::save_buffer("/tmp/sheet.png", &out, (w * 28) as u32, (h * 28) as u32, image::ColorType::L8).unwrap();
    let places = strata_data::Places::from_env();
    let spec = strata_spec::DataSpec { source: "mnist".into(), validation: None };
    for _ in 0..3 {
        let t = std::time::Instant::now();
        let d = strata_data::load(&spec, std::path::Path::new("."), 10, &places, &mut |_| ());
        println!("mnist {:?} {}", t.elapsed(), d.is_ok());
        if let Ok(d) = d {
            let s = strata_data::inspect(&d.train);
            println!("{s:?} {} {:?}", d.source, d.digests);
            let p = strata_data::Preparer::new(&strata_spec::ImagePreparation { height: 28, width: 28, channels: 1, crop: Default::default(), mean: vec![], std: vec![] });
            let f = p.fit(&d.train).unwrap();
            let order = strata_data::permutation(60000, 1, 1);
            let mut out = vec![0f32; 128 * 784];
            let t = std::time::Instant::now();
            for b in 0..468 { p.rows(&f, &order[b * 128..][..128], &mut out); std::hint::black_box(&out); }
            println!("batch {:?}", t.elapsed() / 468);
        }
    }
}
