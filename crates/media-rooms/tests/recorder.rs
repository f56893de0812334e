//! The recorder with real connections: a file for each participant, also after a fault.

mod call;

use std::fs;
use std::path::Path;

use call::*;
use callboard_media_rooms::*;
use callboard_supervision::Fault;

/// Returns how often these bytes are in a file.
fn count(file: &Path, bytes: &[u8]) -> usize {
    let contents = fs::read(file).unwrap();
    contents.windows(bytes.len()).filter(|it| *it == bytes).count()
}

/// Returns how many frames of sound and of pictures a file has, as clients of these tests send them.
fn frames(file: &Path) -> [usize; 2] {
    [count(file, &[0xfc; 60]), count(file, &[0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0])]
}

#[actix::test]
async fn each_participant_is_recorded_and_another_file_begins_after_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let mut call = Call::start(2).await;
    let mut one = call.join(1, 1).await;
    let mut two = call.join(1, 1).await;

    let options = RecorderOptions::new(folder.path().join("call"));
    let recorder = Recorder::start(&call.room, options).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| recorder.files().len() == 2).await;
    let before = one.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[0].received.len() > before + 300).await;
    let supervisor = call.room.supervisor().unwrap().supervisor("tap:recorder").unwrap();
    supervisor.inject("tap", Fault::Panic("a fault".into())).await.unwrap();
    talk_until(&mut [&mut one, &mut two], |_| recorder.files().len() == 4).await;
    let before = one.received.len();
    talk_until(&mut [&mut one, &mut two], |all| all[0].received.len() > before + 300).await;
    // No one else notices.
    talk_until(&mut [&mut one, &mut two], |all| have_all_but(all, 0)).await;
    assert!(recorder.is_running());
    let files = recorder.stop().await;

    for client in [&one, &two] {
        let id = client.id().to_string();
        let own: Vec<_> = files.iter().filter(|it| it.to_str().unwrap().contains(&id)).collect();
        let names = own.iter().map(|it| it.file_name().unwrap().to_str().unwrap().to_owned());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [1, 2].map(|part| format!("client-{id}-{part}.webm"))
        );
        for file in own {
            let [sound, pictures] = frames(file);
            assert!(sound > 50 && pictures > 50, "{sound} {pictures}");
            assert_eq!((count(file, b"A_OPUS"), count(file, b"V_VP8")), (1, 1));
            // An index: it was completed.
            assert_eq!(count(file, &[0x1c, 0x53, 0xbb, 0x6b]), 2);
        }
    }
    call.pool.stop().await;
}
